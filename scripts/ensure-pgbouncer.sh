#!/bin/sh
# Makes sure that PgBouncer is here, for its test, and installs it if not (Debian and its kin). Prints the program's path; what
# it does goes to stderr. PGBOUNCER names another one, such as a newer version.
set -eu
here=$(dirname "$0")
# shellcheck source=scripts/installing.sh
. "$here/installing.sh"

find_program() {
    for place in "${PGBOUNCER:-}" "$(command -v pgbouncer || true)" /usr/sbin/pgbouncer; do
        if [ -n "$place" ] && [ -x "$place" ]; then
            printf '%s\n' "$place"
            return
        fi
    done
    return 1
}

find_program && exit 0
"$here/apt-install.sh" pgbouncer || { say 'PgBouncer is not installed, and could not be' && exit 1; }
find_program

#!/bin/sh
# Makes sure that PgBouncer is here, for its test, and installs it if not (Debian and its kin). Prints the program's path; what
# it does goes to stderr. PGBOUNCER names another one, such as a newer version.
set -eu

say() { printf 'ensure-pgbouncer: %s\n' "$*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

find_program() {
    for place in "${PGBOUNCER:-}" "$(command -v pgbouncer || true)" /usr/sbin/pgbouncer; do
        if [ -n "$place" ] && [ -x "$place" ]; then
            printf '%s\n' "$place"
            return
        fi
    done
    return 1
}

# The package starts a service of its own, which nobody asked for: this keeps it from doing so, for this once.
install() {
    say 'installing the package pgbouncer with apt-get'
    quiet=/usr/sbin/policy-rc.d
    if [ ! -e "$quiet" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$quiet" >/dev/null
        as_root chmod +x "$quiet"
        trap 'as_root rm -f "$quiet"' EXIT
    fi
    as_root apt-get update -q >&2
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends pgbouncer >&2
}

find_program && exit 0
command -v apt-get >/dev/null 2>&1 || { say 'PgBouncer is not installed, and there is no apt-get to install it with'; exit 1; }
install
find_program

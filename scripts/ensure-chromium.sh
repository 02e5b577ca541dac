#!/bin/sh
# Makes sure that a Chromium is here for the browser tests, and installs one if not. Prints its path; what it does goes to
# stderr. CHROMIUM names one that is somewhere else.
#
# Of those in PATH, and of Debian's packages, the headless shell comes first: the same engine without the browser's own windows,
# tabs and services. The tests take half as long with it. Where only another Chromium is there, that is used; of Playwright's
# build, the whole browser.
#
# Installed from: the system's package manager where that needs no password, else Playwright's own build, into its cache in
# the home directory. That needs no root, but libraries that a small system lacks, which are installed where apt-get needs no
# password. Expects node and npm in PATH (scripts/ensure-node.sh) and the packages of tests/browser.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh

usable() {
    [ -x "$1" ] || return 1
    if ! said=$("$1" --version 2>&1 >/dev/null); then
        say "$1 does not run: $said"
        return 1
    fi
    printf '%s\n' "$1"
}

find_chromium() {
    for name in chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable; do
        place=$(command -v "$name") && usable "$place" && return
    done
    for place in '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome' /Applications/Chromium.app/Contents/MacOS/Chromium; do
        usable "$place" && return
    done
    place=$(cd tests/browser && node -p 'require("playwright-core").chromium.executablePath()' 2>/dev/null) && usable "$place"
}

# Ubuntu's package is a snap, which machines that build have no use for; there Playwright's build is taken.
install_from_system() {
    if has apt-get && may_be_root && ! grep -q '^ID=ubuntu' /etc/os-release 2>/dev/null; then
        # Releases before Debian 12 have only the whole browser.
        scripts/apt-install.sh chromium-headless-shell fonts-noto-core || scripts/apt-install.sh chromium fonts-noto-core
    elif has dnf && may_be_root; then
        say "installing the package chromium with dnf"
        as_root dnf install -y chromium >&2
    elif has apk && may_be_root; then
        say "installing the package chromium with apk"
        as_root apk add --no-cache chromium >&2
    else
        return 1
    fi
}

# Also where it is not known which those are: they may all be there.
install_libraries_of_playwright() {
    if ! has apt-get || ! may_be_root; then return; fi
    say "installing the libraries of Playwright's Chromium with apt-get"
    scripts/apt-install.sh fonts-noto-core || say "no fonts for all scripts: going on without"
    (
        take_turn /var/lib/apt && cd tests/browser &&
            as_root env DEBIAN_FRONTEND=noninteractive "$(command -v node)" node_modules/playwright-core/cli.js \
                install-deps chromium 9<&- </dev/null >&2
    ) || say "not all of them could be installed: going on without"
}

install_from_playwright() {
    install_libraries_of_playwright
    say "installing Playwright's Chromium into its cache"
    (cd tests/browser && node node_modules/playwright-core/cli.js install chromium-headless-shell chromium >&2)
}

if [ -n "${CHROMIUM:-}" ]; then
    usable "$CHROMIUM" && exit 0
    say "CHROMIUM=$CHROMIUM is no browser that runs"
    exit 1
fi

find_chromium && exit 0
say "no Chromium is installed"
if install_from_system && find_chromium; then exit 0; fi
if install_from_playwright && find_chromium; then exit 0; fi
say "Chromium could not be installed. Install it, and name it in CHROMIUM if it is not found"
exit 1

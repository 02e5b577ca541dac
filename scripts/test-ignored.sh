#!/bin/sh
# Runs those of the black-box tests that run only when they are asked for:
#   scripts/test-ignored.sh NAME [ARGUMENT…]
# NAME is a part of their names, the arguments are for the tests' program. That there are none is a failure: cargo takes it for success.
set -eu
cd "$(dirname "$0")/.."

name=$1
shift
tests=$(cargo test --quiet --workspace --test it "$name" -- --ignored --list "$@")
case $tests in
*': test'*) ;;
*)
    echo "test-ignored: no test is called $name" >&2
    exit 1
    ;;
esac
exec cargo test --workspace --test it "$name" -- --ignored "$@"

#!/bin/sh
# Runs the tests of the page in a real Chromium (tests/browser) against a built pgchat. Installs Node.js, npm packages and
# Chromium where they are missing, and says so.
#
#   scripts/test-browser.sh target/debug/pgchat [FILE…]
set -eu
cd "$(dirname "$0")/.."
program=${1:?"usage: test-browser.sh PROGRAM [FILE…]"}
shift
# shellcheck source=scripts/browser.sh
. scripts/browser.sh

cd tests/browser
[ "$#" -gt 0 ] || set -- *.test.js
node --test --test-concurrency=2 --test-reporter=spec "$@"

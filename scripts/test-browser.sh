#!/bin/sh
# Runs the tests of the page in a real Chromium (tests/browser) against a built pgchat. Installs Node.js, npm packages and
# Chromium where they are missing, and says so.
#
#   scripts/test-browser.sh target/debug/pgchat [FILE…]
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh
program=${1:?"usage: test-browser.sh PROGRAM [FILE…]"}
shift

node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
PG_BIN_DIR=$(scripts/ensure-postgres.sh)
PGCHAT_BIN=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
export PATH PG_BIN_DIR PGCHAT_BIN

# The harness of the client's tests is used here too, and it needs its packages.
for place in clients/js tests/browser; do
    npm_packages "$place"
done
CHROMIUM=$(scripts/ensure-chromium.sh)
export CHROMIUM

cd tests/browser
[ "$#" -gt 0 ] || set -- *.test.js
node --test --test-concurrency=1 --test-reporter=spec "$@"

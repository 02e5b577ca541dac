#!/bin/sh
# Runs the tests of the browser client (clients/js) against a built pgchat. Installs Node.js and npm packages where they
# are missing, and says so.
#
#   scripts/test-client.sh target/debug/pgchat
set -eu
cd "$(dirname "$0")/.."
program=${1:?"usage: test-client.sh PROGRAM"}

say() { printf 'test-client: %s\n' "$*" >&2; }

node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
PG_BIN_DIR=$(scripts/ensure-postgres.sh)
PGCHAT_BIN=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
export PATH PG_BIN_DIR PGCHAT_BIN

cd clients/js
if ! cmp -s package-lock.json node_modules/.lock; then
    say 'installing the npm packages of clients/js (for its tests only)'
    npm ci --silent --no-audit --no-fund >&2
    cp package-lock.json node_modules/.lock
fi
npm test --silent

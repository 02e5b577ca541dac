#!/bin/sh
# Runs the tests of the browser client (clients/js) against a built pgchat. Installs Node.js and npm packages where they
# are missing, and says so.
#
#   scripts/test-client.sh target/debug/pgchat
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh
program=${1:?"usage: test-client.sh PROGRAM"}

node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
PG_BIN_DIR=$(scripts/ensure-postgres.sh)
PGCHAT_BIN=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
export PATH PG_BIN_DIR PGCHAT_BIN

npm_packages clients/js
cd clients/js
npm test --silent

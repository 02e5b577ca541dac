#!/bin/sh
# Builds the NestJS application of examples/nestjs and runs its tests against a built pgchat, in a real Chromium. Installs
# Node.js, npm packages and Chromium where they are missing, and says so.
#
#   scripts/test-example.sh target/debug/pgchat
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh
program=${1:?"usage: test-example.sh PROGRAM"}

node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
PG_BIN_DIR=$(scripts/ensure-postgres.sh)
PGCHAT_BIN=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
export PATH PG_BIN_DIR PGCHAT_BIN

# The harness of the browser tests is used here, and it needs its packages.
for place in clients/js tests/browser examples/nestjs; do
    npm_packages "$place"
done
CHROMIUM=$(scripts/ensure-chromium.sh)
export CHROMIUM

cd examples/nestjs
npm run --silent build
node --test --test-reporter=spec test/*.test.mjs

#!/bin/sh
# Holds the service against tokens that @nestjs/jwt makes (tests/nestjs). Installs Node.js and npm packages where they are
# missing, and says so.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh

node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
PG_BIN_DIR=$(scripts/ensure-postgres.sh)
export PATH PG_BIN_DIR

npm_packages tests/nestjs
scripts/test-ignored.sh auth::nestjs

#!/bin/sh
# Runs the programs in examples/sql against the service (node-postgres, TypeORM, one that listens, one that pushes, one that hands on). Installs Node.js and npm
# packages where they are missing, and says so.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh

node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
PG_BIN_DIR=$(scripts/ensure-postgres.sh)
export PATH PG_BIN_DIR

npm_packages examples/sql
scripts/test-ignored.sh sql::examples

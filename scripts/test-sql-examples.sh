#!/bin/sh
# Runs the programs in examples/sql against the service (node-postgres, TypeORM, one that listens). Installs Node.js and npm
# packages where they are missing, and says so.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'test-sql-examples: %s\n' "$*" >&2; }

node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
PG_BIN_DIR=$(scripts/ensure-postgres.sh)
export PATH PG_BIN_DIR

if ! cmp -s examples/sql/package-lock.json examples/sql/node_modules/.lock; then
    say 'installing the npm packages of examples/sql'
    npm ci --prefix examples/sql --silent --no-audit --no-fund >&2
    cp examples/sql/package-lock.json examples/sql/node_modules/.lock
fi
cargo test -p pgchat --test it sql::examples -- --ignored

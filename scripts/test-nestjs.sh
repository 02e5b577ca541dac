#!/bin/sh
# Holds the service against tokens that @nestjs/jwt makes (tests/nestjs). Installs Node.js and npm packages where they are
# missing, and says so.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'test-nestjs: %s\n' "$*" >&2; }

node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
PG_BIN_DIR=$(scripts/ensure-postgres.sh)
export PATH PG_BIN_DIR

if ! cmp -s tests/nestjs/package-lock.json tests/nestjs/node_modules/.lock; then
    say 'installing the npm packages of tests/nestjs (for this test only)'
    npm ci --prefix tests/nestjs --silent --no-audit --no-fund >&2
    cp tests/nestjs/package-lock.json tests/nestjs/node_modules/.lock
fi
cargo test -p pgchat --test it auth::nestjs -- --ignored

#!/bin/sh
# cargo-deny by the rules of deny.toml: licences by their texts, sources, doubled versions, and the advisories of RustSec, which
# it fetches from GitHub; where that cannot be reached the rest is checked, and it is said.
# Installs cargo-deny below target/ where there is none, which takes minutes: therefore it is no part of `make test`, which has
# tests/it/dependencies.rs.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/target/tools
PATH=$tools/bin:$PATH
command -v cargo-deny >/dev/null || cargo install --locked --root "$tools" cargo-deny
cargo deny --locked check licenses bans sources
if ! cargo deny --locked fetch db; then
  echo "the advisories could not be fetched: they are not checked" >&2
  exit 0
fi
cargo deny --locked check advisories

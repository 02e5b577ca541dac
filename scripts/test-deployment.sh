#!/bin/sh
# Holds the files of deploy/ and docker-compose.yml against what they are written for: nginx over real replicas, the
# schemas of compose and Kubernetes, systemd's own reading of its units. Installs what is missing, and says so.
set -eu
cd "$(dirname "$0")/.."

PG_BIN_DIR=$(scripts/ensure-postgres.sh)
NGINX_PROGRAMS=$(scripts/ensure-nginx.sh)
export PG_BIN_DIR NGINX_PROGRAMS

scripts/check-deployment.sh
cargo test -p pgchat --test it deployment:: -- --ignored

#!/bin/sh
# Holds the files of deploy/ and docker-compose.yml against what they are written for: nginx over real replicas, Prometheus
# that asks them, the steps of compose on a PostgreSQL of this machine, the schemas of compose and Kubernetes, systemd's own
# reading of its units.
# Installs what is missing, and says so.
set -eu
cd "$(dirname "$0")/.."

PG_BIN_DIR=$(scripts/ensure-postgres.sh)
NGINX_PROGRAMS=$(scripts/ensure-nginx.sh)
export PG_BIN_DIR NGINX_PROGRAMS

scripts/check-deployment.sh
cargo build --quiet --workspace --bins --tests
# What check-deployment.sh has installed.
PYTHONPATH=target/deployment/python PYTHONDONTWRITEBYTECODE=1 python3 tests/deployment/compose_steps.py target/debug/pgchat

# Beside promtool, wherever check-deployment.sh found that.
PROMETHEUS=$(command -v prometheus || find target/deployment/prometheus -path '*/usr/bin/prometheus' -type f 2>/dev/null || true)
export PROMETHEUS
without=
if [ -z "$PROMETHEUS" ]; then
    echo 'test-deployment: Prometheus is not on this machine, and was not to be had: the dashboard is not asked for' >&2
    without='--skip prometheus::'
fi
# These wait for probes and drains most of the time.
# shellcheck disable=SC2086  # two words, or none
scripts/test-ignored.sh deployment:: --test-threads=4 $without

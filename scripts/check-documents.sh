#!/bin/sh
# Holds a running pgchat against the documents that it serves about itself: /openapi.json is validated and then used
# by schemathesis to make thousands of requests, right and wrong ones, whose answers must be as documented and never a
# 5xx; /asyncapi.json is validated. Installs what it needs below target/ from PyPI and npm. EXAMPLES: requests of each kind.
#
#   scripts/check-documents.sh target/debug/pgchat
set -eu
cd "$(dirname "$0")/.."
program=${1:?"usage: check-documents.sh PROGRAM"}
tools=$PWD/target/documents
checks=$PWD/tests/documents

say() { printf 'check-documents: %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

scripts/ensure-pip.sh
stamp=$tools/$(cksum <"$checks/requirements.txt" | tr -d ' ')
if [ ! -e "$stamp" ]; then
    say "installing schemathesis and openapi-spec-validator from PyPI into $tools"
    rm -rf "$tools/python"
    mkdir -p "$tools"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --target "$tools/python" --requirement "$checks/requirements.txt" >&2
    : >"$stamp"
fi
if ! command -v npm >/dev/null 2>&1; then
    say 'installing nodejs and npm by apt-get'
    as_root apt-get update -qq && as_root apt-get install -y -qq nodejs npm >&2
fi
[ -d "$checks/node_modules" ] || npm ci --prefix "$checks" --silent >&2

# Its own embedded database, with the demo data that the examples are about; it ends with the service.
scratch=$(mktemp -d)
chmod 755 "$scratch"
log=$scratch/log
env EMBEDDED_DATA_DIR="$scratch/postgres" SERVER_PORT=0 RATE_LIMIT_PER_SECOND=0 "$program" serve >"$log" 2>&1 &
service=$!
finish() {
    code=$?
    trap - EXIT INT TERM
    kill "$service" 2>/dev/null || true
    wait "$service" 2>/dev/null || true
    [ "$code" = 0 ] || { say 'the service wrote:' && tail -n 40 "$log" >&2; }
    rm -rf "$scratch" 2>/dev/null || true
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

url=
tries=0
while [ -z "$url" ]; do
    url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$log")
    kill -0 "$service" 2>/dev/null || exit 1
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || { say 'the service did not start within 60 s' && exit 1; }
    [ -n "$url" ] || sleep 0.1
done

export PYTHONPATH="$tools/python" PYTHONDONTWRITEBYTECODE=1
python3 -c 'import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())' \
    "$url/openapi.json" >"$scratch/openapi.json"
python3 -m openapi_spec_validator "$scratch/openapi.json"
node "$checks/asyncapi.mjs" "$url/asyncapi.json"
cd "$scratch"
python3 -m schemathesis.cli --config-file "$checks/schemathesis.toml" run "$url/openapi.json" \
    --phases examples,coverage,fuzzing --max-examples "${EXAMPLES:-100}" --seed "${SEED:-1}"
if grep -q ' ERROR ' "$log"; then
    say 'the service logged errors'
    exit 1
fi

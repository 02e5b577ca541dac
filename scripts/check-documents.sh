#!/bin/sh
# Holds a running pgchat against the documents that it serves about itself: /openapi.json is validated and then used
# by schemathesis to make thousands of requests, right and wrong ones, whose answers must be as documented and never a
# 5xx: in trusted mode, and in jwt mode with the token of one user, who may do little of what is asked, and without one.
# /asyncapi.json is validated. Installs what it needs below target/ from PyPI and npm. EXAMPLES: requests of each kind.
#
#   scripts/check-documents.sh target/debug/pgchat
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh
program=${1:?"usage: check-documents.sh PROGRAM"}
tools=$PWD/target/documents
checks=$PWD/tests/documents

python_packages "$tools" "$checks/requirements.txt"
node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
npm_packages "$checks"

# Each mode's own embedded database, with the demo data that the examples are about; it ends with the service.
scratch=$(mktemp -d)
chmod 755 "$scratch"
program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
service=
finish() {
    code=$?
    trap - EXIT INT TERM
    end_service
    [ "$code" = 0 ] || { say 'the service wrote:' && tail -n 40 "$log" >&2; }
    rm -rf "$scratch" 2>/dev/null || true
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

end_service() {
    [ -z "$service" ] || kill "$service" 2>/dev/null || true
    [ -z "$service" ] || wait "$service" 2>/dev/null || true
    service=
}

# Starts the service with these settings beside the usual ones; $url is where it listens.
start_service() {
    mode=$1
    shift
    log=$scratch/$mode.log
    # The one in the background may come to it later than whoever reads it.
    : >"$log"
    env EMBEDDED_DATA_DIR="$scratch/$mode" SERVER_HOST=127.0.0.1 SERVER_PORT=0 RATE_LIMIT_PER_SECOND=0 DB_TIMEOUT_SECONDS=60 "$@" \
        "$program" serve >"$log" 2>&1 &
    service=$!
    url=
    tries=0
    while [ -z "$url" ]; do
        url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$log")
        # A search has an answer once its index is complete.
        grep -q 'search index.*complete' "$log" || url=
        kill -0 "$service" 2>/dev/null || exit 1
        tries=$((tries + 1))
        # The service gives its database three minutes.
        [ "$tries" -lt 2400 ] || { say 'the service did not start within 240 s' && exit 1; }
        [ -n "$url" ] || sleep 0.1
    done
}

# So many requests of each kind, with these arguments.
ask() {
    most=$1
    shift
    python3 -m schemathesis.cli --config-file "$checks/schemathesis.toml" run "$url/openapi.json" --url "$url" \
        --phases examples,coverage,fuzzing --max-examples "$most" --seed "${SEED:-1}" --request-timeout 60 "$@"
    if grep -q ' ERROR ' "$log"; then
        say 'the service logged errors'
        exit 1
    fi
}

export PYTHONPATH="$tools/python" PYTHONDONTWRITEBYTECODE=1
examples=${EXAMPLES:-100}
cd "$scratch"

start_service trusted
python3 -c 'import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1]).read())' \
    "$url/openapi.json" >"$scratch/openapi.json"
python3 -m openapi_spec_validator "$scratch/openapi.json"
node "$checks/asyncapi.mjs" "$url/asyncapi.json"
ask "$examples"
end_service

# Amélie, of the demo data.
secret='the secret of the check of the documents'
start_service jwt JWT_SECRET="$secret"
token=$(JWT_SECRET="$secret" "$program" token --user 11111111-1111-4111-8111-111111111111)
say "in jwt mode, with a user's token"
ask "$((examples / 4))" --header "Authorization: Bearer $token"
say 'in jwt mode, without a token'
ask "$((examples / 10))"

# shellcheck shell=sh
# For scripts that show the page of a built pgchat in a real Chromium, to be sourced in the repository's root with the program
# in $program. Installs Node.js, npm packages and Chromium where they are missing, and says so; names what it found in PATH,
# PG_BIN_DIR, PGCHAT_BIN and CHROMIUM.
# shellcheck source=scripts/installing.sh
. scripts/installing.sh

node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
PG_BIN_DIR=$(scripts/ensure-postgres.sh)
PGCHAT_BIN=$(cd "$(dirname "$program")" && pwd)/$(basename "$program")
export PATH PG_BIN_DIR PGCHAT_BIN

# The harness of the client's tests is used here too, and it needs its packages.
for place in clients/js tests/browser; do
    npm_packages "$place"
done
CHROMIUM=$(scripts/ensure-chromium.sh)
export CHROMIUM

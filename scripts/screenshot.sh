#!/bin/sh
# Makes the picture of the page in README.md anew, docs/images/page.png: a built pgchat with conversations that are made up,
# in a real Chromium (tests/browser/screenshot.js). Installs what is missing as scripts/test-browser.sh does.
#
#   scripts/screenshot.sh target/debug/pgchat
set -eu
cd "$(dirname "$0")/.."
program=${1:?"usage: screenshot.sh PROGRAM"}
# shellcheck source=scripts/browser.sh
. scripts/browser.sh

mkdir -p docs/images
node tests/browser/screenshot.js docs/images/page.png

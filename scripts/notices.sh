#!/bin/sh
# Prints what the crates that are built into pgchat ask to be passed on with it: name, version and licence of each, then the texts, each once with
# the crates that carry it. Of a crate that carries none, its licence's name is all there is.
set -eu
cd "$(dirname "$0")/.."
cargo_home=${CARGO_HOME:-$HOME/.cargo}

crates=$(cargo tree --locked --package pgchat --edges normal --prefix none --no-dedupe --format '{p} {l}' | grep -v '(/' | sort -u)
[ -n "$crates" ]
printf 'pgchat is built with these crates, under these licences.\n\n%s\n' "$crates"

texts=$(mktemp -d)
trap 'rm -rf "$texts"' EXIT
printf '%s\n' "$crates" | while read -r name version _; do
    for file in "$cargo_home"/registry/src/*/"$name-${version#v}"/*; do
        case ${file##*/} in [Ll][Ii][Cc][Ee][Nn][SsCc][Ee]* | COPYING* | NOTICE* | COPYRIGHT*) [ -f "$file" ] || continue ;; *) continue ;; esac
        text=$texts/$(tr -d '\r' <"$file" | cksum | tr ' ' '-')
        [ -e "$text" ] || tr -d '\r' <"$file" >"$text"
        printf '%s %s\n' "$name" "$version" >>"$text.of"
    done
done
for text in "$texts"/*.of; do
    printf '\n%s\n%s\n\n' '----------------------------------------------------------------' "$(sort -u "$text")"
    cat "${text%.of}"
done

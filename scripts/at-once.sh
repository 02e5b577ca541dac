#!/usr/bin/env bash
# Runs commands at the same time, and prints what each has said in one piece, in the order in which they are named here. Fails
# if one of them has failed, once all have ended.
#
#   scripts/at-once.sh 'COMMAND' …
set -euo pipefail
# Each command has a process group of its own: it can be ended with all that it has started, and no signal is ignored in it.
set -m

said=$(mktemp -d)
commands=("$@")
groups=()
# However this ends, what still runs ends with it.
end_all() {
    for group in $(jobs -p); do
        kill -TERM -- "-$group" 2>/dev/null || true
    done
    wait
    rm -rf "$said"
}
trap end_all EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

printf 'at the same time: %s\n' "${commands[@]}"
for number in "${!commands[@]}"; do
    bash -c "${commands[number]}" >"$said/$number" 2>&1 </dev/null &
    groups+=($!)
done

failed=()
for number in "${!commands[@]}"; do
    code=0
    wait "${groups[number]}" || code=$?
    printf '+ %s\n' "${commands[number]}"
    cat "$said/$number"
    [ "$code" = 0 ] || failed+=("${commands[number]} (exit code $code)")
done
[ "${#failed[@]}" = 0 ] || { printf 'at-once: failed: %s\n' "${failed[@]}" >&2 && exit 1; }

#!/bin/sh
# Fuzzes each target for FUZZ_SECONDS (600), or only those that are named: scripts/fuzz.sh cursor http
# "scripts/fuzz.sh keep" puts what earlier runs found into fuzz/corpus: the fewest inputs that reach all that was reached.
#
# libFuzzer with the coverage that the stable compiler can give: the flags are those of cargo-fuzz without the address
# sanitizer, which only nightly compilers have. pgchat has no unsafe code; what is looked for are panics, overflows, inputs
# that take too long or too much memory, and whatever src/fuzzing.rs asserts.
set -eu
cd "$(dirname "$0")/.."
work=$PWD/target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
all="client_frame cursor notification config http"
seconds=${FUZZ_SECONDS:-600}

coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code"
# With --target the flags do not reach build scripts and macros, which run without libFuzzer.
RUSTFLAGS="--cfg fuzzing $coverage" cargo build --manifest-path fuzz/Cargo.toml --release --locked \
  --target "$host" --target-dir "$work"
programs=$work/$host/release

if [ "${1:-}" = keep ]; then
  for target in $all; do
    rm -rf "$work/kept/$target"
    mkdir -p "$work/kept/$target" "$work/corpus/$target"
    "$programs/$target" -set_cover_merge=1 "$work/kept/$target" "fuzz/corpus/$target" "$work/corpus/$target" 2>/dev/null
    rm -r "fuzz/corpus/$target"
    mv "$work/kept/$target" "fuzz/corpus/$target"
    echo "$target: $(find "fuzz/corpus/$target" -type f | wc -l) inputs, $(du -sb "fuzz/corpus/$target" | cut -f 1) bytes"
  done
  exit
fi

# shellcheck disable=SC2048  # words without spaces
for target in ${*:-$all}; do
  mkdir -p "$work/corpus/$target" "$work/found"
  log=$work/$target.log
  echo "$target: $seconds s; the log is $log"
  # An input that makes it fail is left in target/fuzz/found, and its path is in the log.
  if ! "$programs/$target" -max_total_time="$seconds" -max_len=4096 -timeout=25 -rss_limit_mb=1024 -print_final_stats=1 \
    -use_value_profile=1 -dict="fuzz/dictionaries/$target" -artifact_prefix="$work/found/$target-" \
    "$work/corpus/$target" "fuzz/corpus/$target" >"$log" 2>&1; then
    tail -n 30 "$log"
    echo "$target: failed" >&2
    exit 1
  fi
  tail -n 1 "$log"
  sed -n 's/^stat:://p' "$log"
  grep -o 'cov: [0-9]* ft: [0-9]* corp: [0-9]*' "$log" | tail -n 1
done

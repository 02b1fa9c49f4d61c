#!/usr/bin/env bash
# Runs every fuzz target of the crates that it is given, each for SECONDS_EACH, and stops at the first finding.
#
# All packages of fuzz targets share TARGET_DIR, so that what they depend on is built once. What fuzzing finds worth keeping
# stays there too, and the next run begins with it and with the seeds; only a finding is left in the crate's fuzz/artifacts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# cargo-fuzz needs flags that a stable compiler gives only to those who insist.
export RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="$TARGET_DIR"
# More codegen units build in half the time of one, and make targets that run a little slower.
build=(--codegen-units 16)
# One input may take this long, and one allocation be this large: no message is larger than a few megabytes.
bounds=(-timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=64)

mkdir -p "$TARGET_DIR/corpus" "$TARGET_DIR/logs"

for crate in "$@"; do
  echo "building the fuzz targets of $crate"
  log="$TARGET_DIR/logs/build-$crate"
  (cd "$crate" && cargo fuzz build "${build[@]}" >"$log" 2>&1) || {
    cat "$log"
    exit 1
  }
done

for crate in "$@"; do
  cd "$crate"
  for target in $(cargo fuzz list); do
    corpus="$TARGET_DIR/corpus/$target"
    log="$TARGET_DIR/logs/$target"
    mkdir -p "$corpus"
    if ! cargo fuzz run "${build[@]}" "$target" "$corpus" "fuzz/corpus/$target" -- \
      -max_total_time="$SECONDS_EACH" "${bounds[@]}" >"$log" 2>&1; then
      grep --max-count=1 --after-context=3 -E 'panicked at|ERROR: |^error' "$log" || true
      sed -n '/^Failing input:/,/^Minimize/p' "$log"
      echo "FOUND by $target. Its input is in crates/$crate/fuzz/artifacts/$target, and all that was said in $log."
      exit 1
    fi
    echo "$target: $(sed -n 's/^Done \([0-9]* runs in [0-9]* second.*\)$/\1/p' "$log")"
  done
  cd ..
done

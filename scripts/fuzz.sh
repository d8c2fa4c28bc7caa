#!/usr/bin/env bash
# Searches for input that a target does not come back from: fuzz.sh BINARY FOLDER MINUTES [TARGET…]. What is learned stays in
# FOLDER; what is found is written to fuzz/cases, where the tests run it for ever.
set -euo pipefail
# The search has a main of C, which dies of a socket that the other side closed; that of the product does not.
trap '' PIPE

binary=$1 folder=$2 minutes=$3
shift 3
targets=("$@")
if [[ ${#targets[@]} == 0 ]]; then
    mapfile -t targets < <(sed -n 's/.*Target { name: "\([a-z_]*\)".*/\1/p' fuzz/src/targets.rs)
fi
seconds=$((minutes * 60 / ${#targets[@]}))
# Zero is "for ever" to the search.
((seconds > 0)) || seconds=1
found=0
for target in "${targets[@]}"; do
    corpus=$folder/$target cases=fuzz/cases/$target
    mkdir -p "$corpus" "$cases"
    log=$(mktemp)
    if ! COLONNADE_FUZZ_TARGET=$target COLONNADE_FUZZ_SEEDS=$corpus "$binary" >"$log" 2>&1; then
        cat "$log"
        echo "$target: its seeds were not written"
        exit 1
    fi
    if ! COLONNADE_FUZZ_TARGET=$target "$binary" "$corpus" -artifact_prefix="$cases/" -max_len=16384 -timeout=20 \
        -rss_limit_mb=6000 -max_total_time="$seconds" -print_final_stats=1 >"$log" 2>&1; then
        found=1
        tail -40 "$log"
    fi
    executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\) ft: \([0-9]*\) .*/\1 branches, \2 features/p' "$log" | tail -1)
    echo "$target: ${executed:-0} executions in $seconds s, ${coverage:-no coverage}"
    rm -f "$log"
    rmdir "$cases" 2>/dev/null || true
done
exit $found

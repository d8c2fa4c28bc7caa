#!/usr/bin/env bash
# Kernels and encoders on the device of this machine, checked and timed, beside PyTorch and others:
# benches/gpu.sh PACKAGE OUT, where PACKAGE is what `make gpu-package` makes. Needs a CUDA driver; peers need python3 with PyTorch
# (see benches/gpu/peers.py), and the sanitizer is run where there is one. What was found goes to files in OUT.
set -uo pipefail

package=${1:?usage: gpu.sh PACKAGE OUT} out=${2:?usage: gpu.sh PACKAGE OUT}
here=$(dirname "$0")
mkdir -p "$out"
operations="driver correlate forecast isolation_forest kmeans matrix_profile minhash nearest rolling"
rc=0

# say NAME RC: the last line of what a step printed, and whether it went well.
say() {
    printf '%-40s rc %s  %s\n' "$1" "$2" "$(tail -n 1 "$out/$1.txt" | cut -c 1-100)"
    [ "$2" = 0 ] || rc=1
}

# side_by_side NAME COMMAND...: for every operation, all at once; correctness needs no quiet.
side_by_side() {
    local name=$1 of
    shift
    declare -A running=()
    for of in $operations; do
        "$@" "$package" --only checks --filter "$of" --in-process --out "$out/$name-$of.json" >"$out/$name-$of.txt" 2>&1 &
        running[$of]=$!
    done
    for of in $operations; do
        wait "${running[$of]}"
        say "$name-$of" $?
    done
}

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader
side_by_side checks timeout "${LIMIT:-300}"
if [ "${BENCHES:-1}" = 1 ]; then
    "$package" --only benches --rounds "${ROUNDS:-3}" --limit "${LIMIT:-300}" --out "$out/benches.json" >"$out/benches.txt" 2>&1
    say benches $?
    "$package" --only encoders --filter throughput --rounds "${ROUNDS:-3}" --limit "${LIMIT:-300}" --out "$out/encoders.json" >"$out/encoders.txt" 2>&1
    say encoders $?
fi
if [ "${PEERS:-1}" = 1 ] && python3 -c 'import torch' 2>/dev/null; then
    python3 "$here/gpu/peers.py" --limit "${PEER_LIMIT:-300}" 2>"$out/peers.err" | tee "$out/peers.txt" || rc=1
fi
if [ "${SANITIZE:-1}" = 1 ] && command -v compute-sanitizer >/dev/null; then
    for tool in ${TOOLS:-memcheck racecheck}; do
        side_by_side "$tool" timeout "${LIMIT:-300}" compute-sanitizer --tool "$tool" --error-exitcode 9
    done
fi
exit $rc

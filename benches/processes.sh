#!/usr/bin/env bash
# The job `processes` on `receipt` a hundred times over, beside pm4py. TIMES=100 ROUNDS=3; BINARY=path: another build than the tests'.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv venv-processes tests/peers/processes-requirements.txt)
if [[ -z ${BINARY:-} ]]; then
    cargo build --locked
    BINARY=${CARGO_TARGET_DIR:-target}/debug/colonnade
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" benches/processes.py "$BINARY" "$scratch" "${COLONNADE_SHARED_DATA:-../shared/data}/pm4py" "${TIMES:-100}" "${ROUNDS:-3}"

#!/usr/bin/env bash
# The jobs forecast, anomalies and explain on much data: seconds, peak memory and what they found, beside statsforecast, pandas and stumpy.
# SERIES=10000 SAMPLES=10000000 ROWS=10000000 SHAPES=SAMPLES/10 PEER_SECONDS=30 SECTIONS=forecast,anomalies,shapes,explain; BINARY=path:
# another build than the tests'.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv bench-scale benches/scale/requirements.txt)
if [[ -z ${BINARY:-} ]]; then
    cargo build --locked
    BINARY=${CARGO_TARGET_DIR:-target}/debug/colonnade
fi
scratch=${SCRATCH:-$(mktemp -d)}
[[ -n ${SCRATCH:-} ]] || trap 'rm -rf "$scratch"' EXIT
"$python" benches/scale.py "$BINARY" "$scratch"

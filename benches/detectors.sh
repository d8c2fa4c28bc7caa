#!/usr/bin/env bash
# The job `anomalies` beside scikit-learn's isolation forest, stumpy's discords, a moving z-score and noise, on NAB's real series with
# labels. ONLY=prefix,…: only detectors of these names; BINARY=path: another build than the tests'.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv bench-detectors benches/detectors/requirements.txt)
if [[ -z ${BINARY:-} ]]; then
    cargo build --locked
    BINARY=${CARGO_TARGET_DIR:-target}/debug/colonnade
fi
scratch=${SCRATCH:-$(mktemp -d)}
[[ -n ${SCRATCH:-} ]] || trap 'rm -rf "$scratch"' EXIT
"$python" benches/detectors.py "$BINARY" "$scratch"

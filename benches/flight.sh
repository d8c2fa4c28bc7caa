#!/usr/bin/env bash
# Rows to pandas by Flight SQL, beside reading the files that they lie in by pyarrow. ROWS=10000000 ROUNDS=3; BINARY=path: another build
# than the tests'.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv bench-flight benches/exports/flight-requirements.txt)
if [[ -z ${BINARY:-} ]]; then
    cargo build --locked
    BINARY=${CARGO_TARGET_DIR:-target}/debug/colonnade
fi
scratch=${SCRATCH:-$(mktemp -d)}
[[ -n ${SCRATCH:-} ]] || trap 'rm -rf "$scratch"' EXIT
"$python" benches/exports/flight.py "$BINARY" "$scratch"

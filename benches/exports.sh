#!/usr/bin/env bash
# Exports of model calls to every format, read back by others and compared with what they hold, beside DuckDB's COPY of the same rows.
# ROWS=10000000 ROUNDS=3 FORMATS=parquet,csv,ndjson,arrow,xlsx; BINARY=path: another build than the tests'.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv bench-exports benches/exports/requirements.txt)
if [[ -z ${BINARY:-} ]]; then
    cargo build --locked
    BINARY=${CARGO_TARGET_DIR:-target}/debug/colonnade
fi
scratch=${SCRATCH:-$(mktemp -d)}
[[ -n ${SCRATCH:-} ]] || trap 'rm -rf "$scratch"' EXIT
"$python" benches/exports/bench.py "$BINARY" "$scratch"

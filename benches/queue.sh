#!/usr/bin/env bash
# Runs that do next to nothing, through our queue and through Celery's, on SQLite and on PostgreSQL; and what it takes to ask with
# 100,000 records of runs there. RUNS=200 SINGLE=50 WORKERS=8 RECORDS=100000; PEERS=0: ours alone.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv peers-queue benches/queue/requirements.txt)
cargo build --locked
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" benches/queue/bench.py "${CARGO_TARGET_DIR:-target}/debug/colonnade" "$scratch"

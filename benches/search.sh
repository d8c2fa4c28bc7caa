#!/usr/bin/env bash
# Vector search in a running server, with and without a filter, beside faiss, usearch and LanceDB.
# ROWS=1000000 DIMENSIONS=384 QUERIES=200 HNSW=1 (building usearch's graph takes a quarter of an hour); PEERS=0: ours alone.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv peers-search benches/search/requirements.txt)
cargo build --locked
binary=${CARGO_TARGET_DIR:-target}/debug/colonnade
# A run may have a part of it only, and the index of a million vectors takes 4 GB while it is built.
export COLONNADE_MEMORY=${COLONNADE_MEMORY:-80%}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
OMP_NUM_THREADS=${BENCH_THREADS:-2} "$python" benches/search/search.py "$binary" "$scratch"

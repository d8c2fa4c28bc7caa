#!/usr/bin/env bash
# Texts a second of all-MiniLM-L6-v2 beside sentence-transformers (PyTorch) and onnxruntime, in 32-bit floats, on the same
# texts: those of Banking77 and CLINC. ROUNDS=3 BENCH_THREADS=2. Needs the model (`make model`); installs some gigabytes.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
cache=${XDG_CACHE_HOME:-$HOME/.cache}/colonnade
data=${COLONNADE_SHARED_DATA:-../shared/data}
threads=${BENCH_THREADS:-2}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python=$(venv peers-embed benches/embed/requirements.txt)
models=(cargo test --locked --package colonnade --package models --lib)
"${models[@]}" --no-run
export COLONNADE_REQUIRE_MINILM=1 COLONNADE_MINILM="$cache/models/all-MiniLM-L6-v2" COLONNADE_TEXTS="$scratch/texts.json"
export RAYON_NUM_THREADS=$threads OMP_NUM_THREADS=$threads
"$python" benches/embed/embed.py "$data" "$scratch" -- \
    "${models[@]}" --quiet throughput_of_the_published_model -- --ignored --nocapture

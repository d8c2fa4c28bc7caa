#!/usr/bin/env bash
# Ours beside the peers, on the same data. Arguments go to the benchmark (see benches/src/main.rs).
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv peers benches/peers/requirements.txt)
exec cargo run --locked --package benches --bin benches -- --python "$python" "$@"

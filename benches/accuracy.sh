#!/usr/bin/env bash
# What ours and the peers find on the same real data (see benches/peers/accuracy.py). Arguments go to the script.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv peers benches/peers/requirements.txt)
cargo build --locked --package benches --bin accuracy
exec "$python" benches/peers/accuracy.py "${CARGO_TARGET_DIR:-target}/debug/accuracy" "$@"

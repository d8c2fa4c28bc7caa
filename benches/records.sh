#!/usr/bin/env bash
# What recordlinkage and Splink find in FEBRL's people (see benches/peers/records.py). Ours is measured by its own tests.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv peers-records benches/peers/records-requirements.txt)
exec "$python" benches/peers/records.py 2>/dev/null

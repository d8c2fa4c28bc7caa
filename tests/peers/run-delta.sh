#!/usr/bin/env bash
# Tables written by us, read by Python's deltalake, polars and duckdb; one written by deltalake, read by us.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-peers "$peers/requirements.txt")
"$python" "$peers/delta_peers.py" "$binary" "$scratch"

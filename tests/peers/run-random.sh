#!/usr/bin/env bash
# Random filters, orders and groups beside DuckDB over the same rows, and walks through pages while others commit.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-peers "$peers/requirements.txt")
serve "$scratch/data"
"$python" "$peers/random_peer.py" "$address"

#!/usr/bin/env bash
# The answers of the query cases beside DuckDB's over the same rows.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-peers "$peers/requirements.txt")
# Beside the binary, so that what both are made of is compiled once.
COLONNADE_CASES_TO=$scratch/rows.arrow \
    cargo test --locked --package colonnade --package graphql every_case_is_answered
"$python" "$peers/cases_peer.py" "$scratch/rows.arrow" "$checkout/tests/cases/graphql"

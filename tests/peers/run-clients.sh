#!/usr/bin/env bash
# Clients as their users install them, against a served instance: graphql-http's audits, graphql-ws, graphql-sse, urql, Apollo Client,
# relay-compiler with relay-runtime, graphql-codegen, and gql of Python. Usage: run-clients.sh [audits]
source "$(dirname "$0")/prepare.sh"

with_node
what=${1:-clients}
packages=$(node_packages "$peers/$what")
make_datasets "$scratch/data" metrics model_calls
serve "$scratch/data"
export COLONNADE_ADDRESS=$address
if [[ $what == audits ]]; then
    cp "$peers/audits"/*.mjs "$packages"
    node "$packages/audits.mjs"
    exit
fi
export COLONNADE_SDL=$scratch/schema.graphql
"$binary" --data "$scratch/data" schema >"$COLONNADE_SDL"
rm -rf "$packages/relay" "$packages"/relay-* "$packages"/codegen-*
cp -r "$peers/clients"/{*.mjs,relay} "$packages"
# Some look for their plugins in the folder that they are called from.
cd "$packages"
node seed.mjs
node --test --test-reporter spec ./*.test.mjs
python=$(venv venv-gql "$peers/gql-requirements.txt")
"$python" "$peers/gql_peer.py" "$address"

#!/usr/bin/env bash
# The npm client graphql-ws against a served instance: results pushed as they commit, none missed and none
# repeated after a break, and the time from commit to message.
source "$(dirname "$0")/prepare.sh"

with_node
packages=$(node_packages "$peers/graphql-ws")
# A file without rows makes a dataset.
: >"$scratch/empty.ndjson"
for dataset in metrics model_calls; do
    "$binary" --data "$scratch/data" ingest "$dataset" "$scratch/empty.ndjson" --json >"$scratch/made.json"
done
serve "$scratch/data"
cp "$peers"/graphql-ws/*.mjs "$packages"
node "$packages/subscribe.mjs" "$address"

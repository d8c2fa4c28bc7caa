#!/usr/bin/env bash
# The npm client graphql-ws against a served instance: results pushed as they commit, none missed and none
# repeated after a break, and the time from commit to message.
source "$(dirname "$0")/prepare.sh"

with_node
packages=$(node_packages "$peers/clients")
make_datasets "$scratch/data" metrics model_calls
serve "$scratch/data"
cp "$peers"/clients/*.mjs "$packages"
COLONNADE_ADDRESS=$address node "$packages/subscribe.mjs"

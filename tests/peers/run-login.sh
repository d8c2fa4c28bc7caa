#!/usr/bin/env bash
# People who log in at an identity provider, npm's `oidc-provider`, and use a served instance then: in, renewed, and out again.
source "$(dirname "$0")/prepare.sh"

with_node
packages=$(node_packages "$peers/login")
make_datasets "$scratch/login-data" metrics
cp "$peers/login"/*.mjs "$packages"
COLONNADE_BINARY=$(realpath "$binary") COLONNADE_SCRATCH=$scratch \
    node --test --test-reporter spec "$packages/login.test.mjs"

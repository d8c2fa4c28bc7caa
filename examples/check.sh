#!/usr/bin/env bash
# Builds the clients as docs/clients.md says, and runs them while the server is killed and their connections break.
set -euo pipefail
cd "$(dirname "$0")"
BINARY=$(realpath "${1:?expected the path of the binary that serves}")
FOLDER=${2:?expected the folder of what is built}
export COLONNADE_BINARY=$BINARY
source ../tests/peers/prepare.sh
with_node
if declare -F npm >/dev/null; then
    export node_folder
    export -f npm
fi
export CARGO_TARGET_DIR=$FOLDER/target
cargo fmt --check --manifest-path rust/Cargo.toml
# A copy, so that nothing is left in the checkout; with the times of its files, so that Cargo knows what it has.
mkdir -p "$FOLDER/checkout/examples"
cp -p ../rust-toolchain.toml "$FOLDER/checkout"
cp -pR calls.graphql typescript rust "$FOLDER/checkout/examples"
python3 check.py "$BINARY" "$FOLDER/checkout" ../docs/clients.md
cargo clippy --locked --quiet --manifest-path "$FOLDER/checkout/examples/rust/Cargo.toml" -- -D warnings

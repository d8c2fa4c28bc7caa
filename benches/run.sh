#!/usr/bin/env bash
# Ours beside the peers, on the same data. Arguments go to the benchmark (see benches/src/main.rs).
set -euo pipefail

cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/colonnade
venv=$cache/peers
if ! cmp -s benches/peers/requirements.txt "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement benches/peers/requirements.txt
    cp benches/peers/requirements.txt "$venv/requirements.txt"
fi
exec cargo run --locked --package benches --bin benches -- --python "$venv/bin/python" "$@"

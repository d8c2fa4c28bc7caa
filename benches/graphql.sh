#!/usr/bin/env bash
# GraphQL requests over model calls: ours beside DuckDB and DataFusion on the same files, and PostGraphile on PostgreSQL.
# ROWS=10000000 TIMES=200; PEERS=0: ours alone; BINARY=path: another build than the tests'.
set -euo pipefail

cd "$(dirname "$0")/.."
source scripts/venv.sh
python=$(venv peers-graphql benches/graphql/requirements.txt)
if [[ -z ${BINARY:-} ]]; then
    cargo build --locked
    BINARY=${CARGO_TARGET_DIR:-target}/debug/colonnade
fi
scratch=${SCRATCH:-$(mktemp -d)}
[[ -n ${SCRATCH:-} ]] || trap 'rm -rf "$scratch"' EXIT
modules=${XDG_CACHE_HOME:-$HOME/.cache}/colonnade/postgraphile
if [[ ${PEERS:-1} != 0 && ! -d $modules/node_modules ]]; then
    mkdir -p "$modules"
    cp benches/graphql/package.json benches/graphql/postgraphile.js "$modules"
    npm install --silent --no-audit --no-fund --prefix "$modules"
fi
PYTHONPATH=benches/queue "$python" benches/graphql/bench.py "$BINARY" "$scratch" "$modules"

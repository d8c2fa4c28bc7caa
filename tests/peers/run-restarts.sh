#!/usr/bin/env bash
# A server that is restarted by SIGTERM, COUNT times (50), while rows are committed: subscribers of npm's graphql-sse and graphql-ws and of
# Python's gql reconnect, read each version once, and none ends. Usage: COUNT=50 run-restarts.sh
source "$(dirname "$0")/prepare.sh"

with_node
packages=$(node_packages "$peers/restarts")
python=$(venv venv-gql "$peers/gql-requirements.txt")
cp "$peers"/restarts/subscriber.* "$peers/restarts/restarts.mjs" "$packages"
printf '{"id": "0", "at": "2026-01-01T00:00:00Z", "kind": "tick"}\n' >"$scratch/events.ndjson"
"$binary" --data "$scratch/data" ingest events "$scratch/events.ndjson" --create >/dev/null
port=${PORT:-$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')}
node "$packages/restarts.mjs" "$binary" "$scratch/data" "127.0.0.1:$port" "$python" "${COUNT:-50}"

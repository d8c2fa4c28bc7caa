#!/usr/bin/env bash
# The demo on an S3 and an Azure store, both emulated on loopback, and two writers that race for the
# commits of one dataset. Nothing leaves this machine.
source "$(dirname "$0")/prepare.sh"

rows=${ROWS:-50000}
python=$(venv venv-cloud "$peers/cloud-requirements.txt")
packages=$(node_packages "$peers/azurite")

free_port() {
    "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# answers URL: waits until something answers there.
answers() {
    for _ in $(seq 300); do
        curl --silent --output /dev/null "$1" && return
        sleep 0.1
    done
    echo "nothing answers at $1" >&2
    return 1
}

# demo_and_race ROOT: everything that is checked of a store.
demo_and_race() {
    local root=$1
    echo "== $root"
    "$binary" --data "$root" demo --rows "$rows" --no-serve --json >"$scratch/demo.json"
    "$python" "$peers/cloud_checks.py" demo "$binary" "$root" "$scratch/demo.json" "$rows"
    "$python" "$peers/cloud_checks.py" race "$binary" "$root" "$scratch"
}

cd "$scratch"

s3_port=$(free_port)
"$(dirname "$python")/moto_server" -H 127.0.0.1 -p "$s3_port" >"$scratch/moto.log" 2>&1 &
children+=($!)
answers "http://127.0.0.1:$s3_port/"
(
    export AWS_ENDPOINT_URL=http://127.0.0.1:$s3_port AWS_ALLOW_HTTP=true AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=emulated AWS_SECRET_ACCESS_KEY=emulated
    curl --silent --fail --output /dev/null --request PUT "$AWS_ENDPOINT_URL/bucket"
    demo_and_race s3://bucket/some/prefix
)

azure_port=$(free_port)
"$packages/node_modules/.bin/azurite-blob" --silent --blobHost 127.0.0.1 --blobPort "$azure_port" \
    --location "$scratch/azurite" --skipApiVersionCheck >"$scratch/azurite.log" 2>&1 &
children+=($!)
answers "http://127.0.0.1:$azure_port/"
(
    # The emulator's account and key are fixed and public: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
    export AZURE_STORAGE_ACCOUNT_NAME=devstoreaccount1
    export AZURE_STORAGE_ACCOUNT_KEY=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==
    export AZURE_STORAGE_ENDPOINT=http://127.0.0.1:$azure_port/devstoreaccount1 AZURE_ALLOW_HTTP=true
    "$python" - <<'PYTHON'
import os
from azure.storage.blob import BlobServiceClient
account, key = os.environ["AZURE_STORAGE_ACCOUNT_NAME"], os.environ["AZURE_STORAGE_ACCOUNT_KEY"]
BlobServiceClient(os.environ["AZURE_STORAGE_ENDPOINT"], {"account_name": account, "account_key": key}).create_container("container")
PYTHON
    demo_and_race az://container/some/prefix
)

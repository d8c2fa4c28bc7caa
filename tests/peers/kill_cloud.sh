#!/usr/bin/env bash
# kill_cloud.sh COMMAND…: runs a command with COLONNADE_TEST_S3, an emulated S3 store on loopback with a bucket named `bucket`.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-cloud "$peers/cloud-requirements.txt")
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$(dirname "$python")/moto_server" -H 127.0.0.1 -p "$port" >"$scratch/moto.log" 2>&1 &
children+=($!)
export COLONNADE_TEST_S3=http://127.0.0.1:$port
for _ in $(seq 300); do
    curl --silent --output /dev/null "$COLONNADE_TEST_S3/" && break
    sleep 0.1
done
curl --silent --fail --output /dev/null --request PUT "$COLONNADE_TEST_S3/bucket"
"$@"

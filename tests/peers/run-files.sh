#!/usr/bin/env bash
# Random tables in files of other programs, loaded twice and compared with what the programs wrote, and public suites
# of JSON and CSV through every door.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-files "$peers/files-requirements.txt")
root=$scratch/suites
mkdir "$root"
serve "$root"
PYTHONPATH="$checkout/python/src" "$python" "$peers/suites_peer.py" "$binary" "$root" "$address" "${COLONNADE_SHARED_DATA:-$checkout/../shared/data}"
"$python" "$peers/files_peer.py" "$binary" "$scratch"

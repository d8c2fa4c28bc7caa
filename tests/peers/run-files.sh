#!/usr/bin/env bash
# Random tables in files of other programs, loaded twice and compared with what the programs wrote.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-files "$peers/files-requirements.txt")
"$python" "$peers/files_peer.py" "$binary" "$scratch"

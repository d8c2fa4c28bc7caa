#!/usr/bin/env bash
# Compares the jobs with other people's programs, on real data that packages of PyPI ship. pm4py is
# AGPL-3.0: it is run here, and no part of what is handed out.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-oracles "$peers/oracles-requirements.txt")
export COLONNADE_SHARED_DATA=${COLONNADE_SHARED_DATA:-$checkout/../shared/data} PYTHONDONTWRITEBYTECODE=1 TQDM_DISABLE=1
"$python" "$peers/oracles_peer.py" "$binary" "$scratch" "$@"

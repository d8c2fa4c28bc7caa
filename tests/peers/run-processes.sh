#!/usr/bin/env bash
# The job `processes` on real event logs, beside pm4py. pm4py is AGPL-3.0: it is run here, and no part of what is handed out.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-processes "$peers/processes-requirements.txt")
"$python" "$peers/processes_peer.py" "$binary" "$scratch" "${COLONNADE_SHARED_DATA:-$checkout/../shared/data}/pm4py"

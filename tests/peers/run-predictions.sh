#!/usr/bin/env bash
# The job `predictions` on real event logs, beside counts by pandas and models of scikit-learn. pm4py, which reads the logs, is
# AGPL-3.0: it is run here, and no part of what is handed out.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-predictions "$peers/predictions-requirements.txt")
"$python" "$peers/predictions_peer.py" "$binary" "$scratch" "${COLONNADE_SHARED_DATA:-$checkout/../shared/data}/pm4py"

#!/usr/bin/env bash
# The jobs `features` and `training_set` and reads by entity, beside Feast's local mode and pandas. ENTITIES=1000000, FEAST_ENTITIES=100000, LABELS=100000, READS=20000.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-features "$peers/features-requirements.txt")
"$python" "$peers/features_peer.py" "$binary" "$scratch"

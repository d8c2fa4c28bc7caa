#!/usr/bin/env bash
# The job `reconcile` on two tables of a million rows with planted differences, beside pandas. ROWS=1000000
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-costs "$peers/costs-requirements.txt")
"$python" "$peers/reconcile_peer.py" "$binary" "$scratch" "${ROWS:-1000000}"

#!/usr/bin/env bash
# Flight SQL by the ADBC driver, as it is installed.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-flight "$peers/flight-requirements.txt")
"$python" "$peers/flight_peer.py" "$binary" "$scratch"

#!/usr/bin/env bash
# Spans of agents by OpenTelemetry's own exporter, as it is installed, and what became of them.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-otlp "$peers/otlp-requirements.txt")
"$python" "$peers/otlp_peer.py" "$binary" "$scratch"

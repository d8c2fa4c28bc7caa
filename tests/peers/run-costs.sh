#!/usr/bin/env bash
# The job `costs` on the traces of Azure and Mooncake, on generated calls and on every model of LiteLLM's list, beside litellm and pandas.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-costs "$peers/costs-requirements.txt")
"$python" "$peers/costs_peer.py" "$binary" "$scratch" "${COLONNADE_SHARED_DATA:-$checkout/../shared/data}"

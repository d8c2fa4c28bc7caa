#!/usr/bin/env bash
# Executes the notebooks anew in an environment of their own, each against a fresh server, and holds their figures against those that are
# committed: check.sh BINARY [--write] [NAME…]. --write puts what comes out into the notebooks.
set -euo pipefail
BINARY=$(realpath "${1:?expected the path of the binary that serves}")
shift
[ -x "$BINARY" ] || { echo "notebooks: $BINARY is no program; expected the binary that serves"; exit 1; }
[ -z "${COLONNADE_SHARED_DATA:-}" ] || COLONNADE_SHARED_DATA=$(realpath "$COLONNADE_SHARED_DATA")
cd "$(dirname "$0")"
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/colonnade
. ../scripts/venv.sh
PYTHON=$(venv notebooks requirements.txt)
"$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps --editable ../python
export COLONNADE_MODELS=${COLONNADE_MODELS:-$CACHE/models} PYTHONDONTWRITEBYTECODE=1 JUPYTER_NO_CONFIG=1
COLONNADE_SHARED_DATA=$(realpath "${COLONNADE_SHARED_DATA:-../../shared/data}")
export COLONNADE_SHARED_DATA
[ -e "$COLONNADE_SHARED_DATA/README.md" ] || { echo "notebooks: expected the public data in $COLONNADE_SHARED_DATA; COLONNADE_SHARED_DATA says where it is"; exit 1; }
"$PYTHON" -m pytest --quiet -p no:cacheprovider test_check.py
"$BINARY" models pull all-MiniLM-L6-v2
exec "$PYTHON" check.py "$BINARY" "$@"

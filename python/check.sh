#!/usr/bin/env bash
# Checks the Python package in an environment of its own: types by mypy and pyright, tests against a real server, wheel and sdist.
set -euo pipefail
cd "$(dirname "$0")"
BINARY=${1:?expected the path of the binary that the tests serve with}
FOLDER=${2:?expected the folder of the environment and of what is built}
STAMP="$FOLDER/$(cat pyproject.toml requirements.txt | cksum | cut -d' ' -f1)"
if [ ! -e "$STAMP" ]; then
    rm -rf "$FOLDER"
    python3 -m venv "$FOLDER"
    "$FOLDER/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
    touch "$STAMP"
fi
"$FOLDER/bin/pip" install --quiet --disable-pip-version-check --no-deps --editable .
"$FOLDER/bin/mypy" --cache-dir "$FOLDER/mypy"
"$FOLDER/bin/pyright" --pythonpath "$FOLDER/bin/python"
COLONNADE_BINARY="$BINARY" "$FOLDER/bin/pytest" --quiet -p no:cacheprovider tests
rm -rf "$FOLDER/dist"
"$FOLDER/bin/python" -m build --no-isolation --outdir "$FOLDER/dist" .
# What was built is what a newcomer installs.
"$FOLDER/bin/python" -m venv --clear "$FOLDER/fresh"
"$FOLDER/fresh/bin/pip" install --quiet --disable-pip-version-check "$FOLDER"/dist/*.whl pandas
"$FOLDER/fresh/bin/python" -c "import colonnade; print('colonnade', colonnade.__version__, 'from a wheel')"
ls -l "$FOLDER/dist"

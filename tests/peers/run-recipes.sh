#!/usr/bin/env bash
# The recipes of docs/without-us.md, run by the libraries that they are for.
source "$(dirname "$0")/prepare.sh"

python=$(venv venv-recipes "$peers/recipes-requirements.txt")
"$python" "$peers/recipes.py" "$binary" "$scratch"

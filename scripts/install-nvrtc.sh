#!/usr/bin/env bash
# Puts NVIDIA's run-time compiler and its headers into a folder, from Python wheels (they are archives;
# nothing of Python is used at run time). Usage: install-nvrtc.sh DIR
set -euo pipefail

dir=${1:?usage: install-nvrtc.sh DIR}
requirements=$(dirname "$0")/nvrtc-requirements.txt

if python3 -m pip --version >/dev/null 2>&1; then
    pip=(python3 -m pip)
elif python3 -m venv "$dir.venv" >/dev/null 2>&1; then
    pip=("$dir.venv/bin/python" -m pip)
else
    echo "install-nvrtc: python3 with pip (or venv) is needed to fetch NVRTC" >&2
    exit 1
fi

rm -rf "$dir.new"
"${pip[@]}" install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --target "$dir.new" --requirement "$requirements"
rm -rf "$dir" "$dir.venv"
mv "$dir.new" "$dir"
touch "$dir/.installed"

# Sourced: Python environments for checks beside other people's software.

# venv NAME REQUIREMENTS: prints the Python of an environment with exactly these packages, made when they change.
venv() {
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/colonnade/$1 requirements=$2
    if ! cmp --silent "$requirements" "$folder/requirements.txt"; then
        # A substitution does not end at the first failure by itself.
        rm -rf "$folder" &&
            python3 -m venv "$folder" &&
            "$folder/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --requirement "$requirements" &&
            cp "$requirements" "$folder/requirements.txt" || return
    fi
    echo "$folder/bin/python"
}

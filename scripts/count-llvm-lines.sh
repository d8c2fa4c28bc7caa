#!/usr/bin/env bash
# A wrapper for rustc: writes how many lines of LLVM IR a crate of the workspace is, before optimisation, into the folder
# COLONNADE_LLVM_LINES. Set as RUSTC_WORKSPACE_WRAPPER, it sees no dependency.
set -euo pipefail

compiler=$1
shift
name='' kind='' is_test=0 previous=''
for argument; do
    case $previous in
        --crate-name) name=$argument ;;
        --crate-type) kind=$argument ;;
    esac
    [[ $argument == --test ]] && is_test=1
    previous=$argument
done
# Questions to the compiler, build scripts and tests are none of ours.
if [[ -z $name || $name == ___ || $name == build_script_* || $is_test == 1 || ! -d ${COLONNADE_LLVM_LINES:-} ]]; then
    exec "$compiler" "$@"
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$compiler" "$@" --emit="llvm-ir=$folder/all.ll" -C codegen-units=1 -C no-prepopulate-passes
wc -l <"$folder/all.ll" | tr -d ' ' >"$COLONNADE_LLVM_LINES/$name-$kind"

#!/usr/bin/env bash
# A wrapper for rustc: has the crates of the workspace count which of their branches run, for libFuzzer. Set as
# RUSTC_WORKSPACE_WRAPPER, it sees no dependency, so that those are the same as in other builds.
set -euo pipefail

compiler=$1
shift
name='' previous=''
for argument; do
    [[ $previous == --crate-name ]] && name=$argument
    previous=$argument
done
# Questions to the compiler and build scripts are run without libFuzzer.
if [[ -z $name || $name == ___ || $name == build_script_* ]]; then
    exec "$compiler" "$@"
fi
exec "$compiler" "$@" -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares

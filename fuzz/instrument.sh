#!/bin/sh
# Set as RUSTC_WORKSPACE_WRAPPER: adds the coverage that libFuzzer steers by to the workspace's own crates, and only to
# them, so that none of their dependencies is built again. Works on the stable compiler; the address sanitizer does not.
exec "$@" --cfg fuzzing \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares

#!/usr/bin/env bash
# What a change must pass before it is merged: formatting, lints, all tests.
#
#   scripts/check.sh
#
# Needs what building needs: cargo, a C compiler, and the crates registry or its cached copy.
# Lints and tests share one target directory and one profile, so that build scripts and procedural
# macros are compiled once. It is the development profile: dependencies are optimised in it, our
# crates enough for the tests, and there is no link-time optimisation to wait for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() {
    printf '\n== %s\n' "$*"
    "$@"
}

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
step cargo test --workspace

# Where there is NVIDIA's compiler, the kernels are compiled by it as well; no GPU is needed.
nvcc=${CUDA_HOME:+$CUDA_HOME/bin/}nvcc
if command -v "$nvcc" > /dev/null; then
    step "$nvcc" -std=c++17 -fatbin -arch=sm_80 -o /dev/null crates/kernels/cuda/kernels.cu
fi

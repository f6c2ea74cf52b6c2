#!/usr/bin/env bash
# Builds what scripts/gpu-check.sh runs on a machine with a GPU, on a machine that needs none: the program
# with the feature `cuda`, and the tests of its kernels.
#
#   scripts/gpu-build.sh [DIR]        [default: gpu-check]
#
# Needs a CUDA toolkit (CUDA_HOME, or nvcc on the path) besides what building needs. Candle's own kernels
# take some ten minutes the first time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=${1:-gpu-check}
mkdir -p "$dir"

cargo build --release --workspace --features nmt/cuda
# The tests' executables have names that change with what is in them; cargo tells which they are.
tests=$(cargo test --release --workspace --features nmt/cuda --no-run --message-format=json \
    --test gpu --test gpu_search --test gpu_luong --test optimizer | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
cp target/release/nmt "$dir/nmt"
strip "$dir/nmt"
for test in $tests; do
    case $(basename "$test") in
        gpu*-* | optimizer-*) cp "$test" "$dir/" && strip "$dir/$(basename "$test")" ;;
    esac
done
gzip -dc data/tatoeba-en-es.tsv.gz | cut -f 1,2 > "$dir/corpus.tsv"
ls -l "$dir"

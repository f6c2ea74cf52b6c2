#!/usr/bin/env bash
# Trains the same shapes with PyTorch and with `nmt`, one after the other, and prints the ratios.
#
#   scripts/peers/compare.sh [SHAPE ...]        T, B and R unless given
#
# PyTorch runs in single and in mixed precision, with the allocator of the system and, where it is
# installed, with tcmalloc; attention is computed the faster way. On processors of AMD it runs once
# more with MKL's path for Intel's (see setup.sh). Ours is `cargo bench --bench step`. All use the
# batch of that benchmark.
#
#   THREADS=1          threads of either side
#   CORES=0            the cores they run on, as `taskset` takes them
#   UPDATES=8          updates of PyTorch that are timed
#   TCMALLOC=FILE      the library, if it is not in a usual place
#
# Run it on a quiet machine. Rates per processor second suffer less from neighbours than those of
# wall-clock time, but with more than one thread they are not a speed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
threads=${THREADS:-1}
cores=${CORES:-0}
python=$("$here/setup.sh")
home=$(realpath "${PEERS_HOME:-target/peers}")
tcmalloc=${TCMALLOC:-$(find /usr/lib /usr/lib64 /usr/local/lib -name libtcmalloc_minimal.so.4 \
    2> /dev/null | head -n 1)}
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT

# pinned PRELOAD COMMAND: on the chosen cores and threads.
pinned() {
    local preload=$1
    shift
    env ${preload:+LD_PRELOAD="$preload"} OMP_NUM_THREADS="$threads" RAYON_NUM_THREADS="$threads" \
        taskset -c "$cores" "$@"
}

torch() {
    local preload=$1 attention=best
    shift
    [ "$1" != R ] || attention=fused
    pinned "$preload" "$python" "$here/train_transformer.py" --shape "$1" --precision "$2" \
        --threads "$threads" --updates "${UPDATES:-8}" --attention "$attention" \
        | tee -a "$lines" >&2
}

cargo bench --workspace --bench step --no-run >&2
[ $# -gt 0 ] || set -- T B R
for shape in "$@"; do
    for precision in f32 bf16; do
        torch '' "$shape" "$precision"
        [ -z "$tcmalloc" ] || torch "$tcmalloc" "$shape" "$precision"
    done
    [ ! -e "$home/mkl.so" ] || torch "$home/mkl.so${tcmalloc:+:$tcmalloc}" "$shape" f32
    pinned '' cargo bench --workspace --bench step -- "$shape" | tee -a "$lines" >&2
done
"$python" "$here/table.py" < "$lines"

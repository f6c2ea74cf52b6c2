#!/usr/bin/env bash
# Translates with CTranslate2 and with `nmt`, compares the translations, and prints who is faster.
#
#   scripts/peers/translate.sh MODEL INPUT [OPTION ...]
#
# MODEL is the directory of a Transformer, INPUT a file of lines to translate; options are those of
# translate_ctranslate2.py, such as `--shape B` or `--int8 DIR`.
#
#   THREADS=1          threads of either side; several numbers are measured in turn
#   CORES=             the cores they run on, as `taskset` takes them [default: all]
#   NMT=FILE           the program [default: built here]
#
# Run it on a quiet machine. Rates per processor second suffer less from neighbours than those of
# wall-clock time, but with more than one thread they are not a speed.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$("$here/setup.sh" translate)
nmt=${NMT:-}
if [ -z "$nmt" ]; then
    (cd "$here/../.." && cargo build --workspace --release >&2)
    nmt=${CARGO_TARGET_DIR:-$here/../../target}/release/nmt
fi
model=$1 input=$2
shift 2
# shellcheck disable=SC2086 # several numbers are several arguments
${CORES:+taskset -c "$CORES"} "$python" "$here/translate_ctranslate2.py" --nmt "$nmt" \
    --model "$model" --input "$input" --threads ${THREADS:-1} "$@"

#!/usr/bin/env bash
# How much of planted damage the flags of `nmt evaluate --signals` catch, and how often they stand at
# translations without it.
#
#   scripts/signals/measure.sh MODEL SRC REF TRAIN_SRC TRAIN_REF
#
# Translates the first $LINES lines of SRC (500), damages the translations (plant.py, $SEED), and lets
# the model read damaged and undamaged ones and the references REF. Links, which say what was left
# out and which words may be copied, are those of the statistical aligner on TRAIN_SRC, TRAIN_REF and
# the texts. Alignments are read where the model was calibrated. Work files go to $OUT (target/signals).
#
# With $NMT set to a program, nothing is built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
model=${1:?usage: measure.sh MODEL SRC REF TRAIN_SRC TRAIN_REF}
out=${OUT:-$here/../../target/signals}
nmt=${NMT:-$here/../../target/release/nmt}
python=${PYTHON:-python3}
lines=${LINES:-500}
mkdir -p "$out"

if [ -z "${NMT:-}" ]; then
    (cd "$here/../.." && cargo build --release --workspace) >&2
fi
head -n "$lines" "$2" > "$out/src"
head -n "$lines" "$3" > "$out/ref"
"$nmt" translate "$model" "$out/src" --quiet > "$out/hyp"
cat "$4" "$out/src" > "$out/all.src"
cat "$5" "$out/hyp" > "$out/all.hyp"
"$nmt" align --statistical "$out/all.src" "$out/all.hyp" --quiet | tail -n "$lines" > "$out/links"
"$python" "$here/plant.py" "$out/src" "$out/hyp" "$out/links" "$out/damaged" --seed "${SEED:-1}"

judge() {
    "$nmt" evaluate --signals --model "$model" --src "$1" --hyp "$2" --flagged --quiet
}
judge "$out/damaged.src" "$out/damaged.tgt" > "$out/damaged.flagged"
judge "$out/src" "$out/hyp" > "$out/hyp.flagged"
judge "$out/src" "$out/ref" > "$out/ref.flagged"
"$python" "$here/count.py" "$out/damaged.planted" "$out/damaged.flagged" \
    "translations=$out/hyp.flagged" "references=$out/ref.flagged"

#!/usr/bin/env bash
# What fine-tuning gains and what it forgets: a model of everyday sentences (Tatoeba en-de) continues on
# 1,000 and on all 29,000 captions (Multi30k), beside models that know nothing else.
#
#   scripts/finetune/run.sh
#
# Needs runs/tatoeba-en-de, which scripts/languages/run.sh trains, and `nmt fetch multi30k-en-de`. What is
# done is skipped and what was interrupted resumed.
#
#   RUNS=runs      where the runs are
#   THREADS=2      threads to train with; they change no result
#   NMT=FILE       the program [default: built here]
#
# Run it from the root of the repository.
set -euo pipefail
runs=${RUNS:-runs}
nmt=${NMT:-target/release/nmt}
base=$runs/tatoeba-en-de/averaged
captions=data/multi30k-en-de
everyday=data/tatoeba-test-en-de
if [ -z "${NMT:-}" ]; then
    cargo build --release --workspace >&2
fi
out=$runs/finetune
mkdir -p "$out"
for side in en de; do
    head -n 1000 "$captions/train.$side" > "$out/captions-1000.$side"
done
few="data.train=[{src=\"$out/captions-1000.en\",tgt=\"$out/captions-1000.de\"}]"

# The same experiment from nothing, with the tokenizers of the first model.
alone=$out/alone.toml
sed '/^\[init\]/,/^$/d' configs/finetune-multi30k.toml > "$alone"
printf '\n[tokenizer]\ndir = "%s"\n' "$base" >> "$alone"

train() { # NAME FILE OPTION...
    local run=$out/$1 file=$2
    shift 2
    [ -e "$run/done" ] && return
    if [ -d "$run/checkpoints" ]; then
        "$nmt" train --resume --out "$run" --threads "${THREADS:-2}"
    else
        "$nmt" train "$file" --out "$run" --threads "${THREADS:-2}" "$@"
    fi
    touch "$run/done"
}

tuned=configs/finetune-multi30k.toml
from=(--set "init.dir=\"$base\"")
# A thousand captions are few: a smaller step, and the development set says when to stop.
train tuned-1000 $tuned "${from[@]}" --set "$few" --set training.lr=0.0003 \
    --set training.validate_every=50
train tuned-29000 $tuned "${from[@]}"
train alone-1000 "$alone" --set "$few"
train alone-29000 "$alone" --set training.updates=4000 --set training.lr=0.003 \
    --set 'training.schedule={cosine={warmup=400,total=4000}}'

score() { # MODEL SRC REF
    "$nmt" evaluate --model "$1" --src "$2" --ref "$3" --metric bleu,chrf --quiet \
        | sed -n 's/^[^=]*= \([0-9.]*\).*/\1/p' | paste -sd'|' | sed 's/|/ | /'
}
echo "| model | captions: BLEU | chrF | everyday: BLEU | chrF |"
echo "|---|---:|---:|---:|---:|"
for model in "$base" "$out"/{tuned-1000,tuned-29000,alone-1000,alone-29000}/best; do
    echo "| $model | $(score "$model" $captions/test.en $captions/test.de)" \
        "| $(score "$model" $everyday/test.en $everyday/test.de) |"
done

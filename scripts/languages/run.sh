#!/usr/bin/env bash
# Trains a Transformer for each language, scores it on its official test set, and prints one table.
#
#   scripts/languages/run.sh [CONFIG ...]
#
# A CONFIG is a name in configs/, such as tatoeba-en-de; without arguments all are run that README
# reports. What is done is skipped and what was interrupted resumed. The data is where `nmt fetch` leaves
# it; each file says which corpora it needs.
#
#   RUNS=runs      where the runs go
#   THREADS=2      threads to train with; they change no result
#   NMT=FILE       the program [default: built here]
#
# Run it from the root of the repository.
set -euo pipefail
runs=${RUNS:-runs}
nmt=${NMT:-target/release/nmt}
configs=("$@")
if [ ${#configs[@]} -eq 0 ]; then
    configs=(tatoeba-en-de tatoeba-de-en tatoeba-en-es tatoeba-en-fr tanaka-en-ja)
fi
if [ -z "${NMT:-}" ]; then
    cargo build --release --workspace >&2
fi

mkdir -p "$runs"
for config in "${configs[@]}"; do
    run=$runs/$config
    [ -s "$run/results.txt" ] && continue
    if [ -d "$run/checkpoints" ]; then
        experiment=(--resume)
    else
        experiment=("configs/$config.toml")
    fi
    # What it says is kept: it tells how many pairs there were.
    "$nmt" train "${experiment[@]}" --out "$run" --threads "${THREADS:-2}" \
        2> >(tee -a "$run.log" >&2)
    # Where the test set is stands in the experiment, below its name.
    side() { sed -n '/^\[data.test.official\]/,/^$/s/^'"$1"' = "\(.*\)"/\1/p' "$run/config.toml"; }
    "$nmt" evaluate --model "$run/averaged" --src "$(side src)" --ref "$(side tgt)" \
        --metric bleu,chrf > "$run/results.part"
    mv "$run/results.part" "$run/results.txt"
done

echo "| config | training pairs | minutes | BLEU | chrF |"
echo "|---|---:|---:|---:|---:|"
for config in "${configs[@]}"; do
    run=$runs/$config
    pairs=$(sed -n 's/^data *\([0-9,]*\) pairs.*/\1/p' "$run.log" | head -1)
    minutes=$(tail -1 "$run/metrics.csv" | cut -d, -f"$(head -1 "$run/metrics.csv" | tr , '\n' \
        | grep -n '^elapsed_seconds$' | cut -d: -f1)" | awk '{ printf "%.0f", $1 / 60 }')
    score() { sed -n "s/^$1[^=]*= \([0-9.]*\).*/\1/p" "$run/results.txt" | head -1; }
    echo "| $config | $pairs | $minutes | $(score BLEU) | $(score chrF) |"
done

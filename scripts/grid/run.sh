#!/usr/bin/env bash
# Trains every cell of Luong, Pham and Manning's grid on Multi30k English-German, the model without
# attention and the Transformer beside them, and compares what they translate and align.
#
#   scripts/grid/run.sh [CELL ...]
#
# Cells are called KIND-SCORE, or KIND-SCORE-off without input feeding; `none` and `transformer` are
# the others. Without arguments all are run, one after the other; cells that are done are skipped and
# interrupted ones resumed, so it can be stopped and started again. All are configs/multi30k-luong.toml
# with another attention, but `transformer`, which is configs/multi30k-transformer.toml; they translate
# fewer lines at each validation. Each run keeps its whole experiment as `config.toml`. The table of what
# is done so far is printed at the end.
#
#   RUNS=runs/grid     where the runs go
#   THREADS=2          threads to train with; they change no result
#   PRECISION=bf16     that products are computed in while training
#   MORE=              more options for `nmt train`, such as `--set training.updates=700`
#   NMT=FILE           the program [default: built here]
#
# Run it from the root of the repository, with the data where configs/README.md says. Error rates are
# disagreement with the statistical aligner: nobody has aligned these captions.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
runs=${RUNS:-runs/grid}
nmt=${NMT:-target/release/nmt}
data=data/multi30k-en-de
cells=("$@")
if [ ${#cells[@]} -eq 0 ]; then
    for feeding in '' -off; do
        for kind in global local-m local-p; do
            for score in dot general concat location; do
                cells+=("$kind-$score$feeding")
            done
        done
    done
    cells+=(none transformer)
fi
if [ -z "${NMT:-}" ]; then
    cargo build --release --workspace >&2
fi
mkdir -p "$runs"

# The options that make a cell.
options() {
    local name=$1 feeding=true
    case $name in
        none) echo "--set model.rnn.attention.kind=none --set model.rnn.input_feeding=false" && return ;;
        *-off) name=${name%-off} feeding=false ;;
    esac
    echo "--set model.rnn.attention.kind=${name%-*} --set model.rnn.attention.score=${name##*-}" \
        "--set model.rnn.attention.max_src_len=128 --set model.rnn.input_feeding=$feeding"
}

# Links of the statistical aligner between the sentences that are scored and their references.
if [ ! -s "$runs/links" ]; then
    cat "$data/train.en" "$data/test.en" > "$runs/all.en"
    cat "$data/train.de" "$data/test.de" > "$runs/all.de"
    "$nmt" align --statistical "$runs/all.en" "$runs/all.de" --quiet \
        | tail -n "$(wc -l < "$data/test.en")" > "$runs/links"
fi

for cell in "${cells[@]}"; do
    run=$runs/$cell
    [ -s "$run/results.txt" ] && continue
    if [ -d "$run/checkpoints" ]; then
        "$nmt" train --resume --out "$run" --threads "${THREADS:-2}" --quiet
    else
        config=configs/multi30k-luong.toml
        words=()
        if [ "$cell" = transformer ]; then
            config=configs/multi30k-transformer.toml
        else
            read -ra words <<< "$(options "$cell")"
        fi
        # shellcheck disable=SC2086 # they are several words
        "$nmt" train "$config" --out "$run" --threads "${THREADS:-2}" --quiet "${words[@]}" \
            --set training.precision="${PRECISION:-bf16}" --set training.translate_lines=100 ${MORE:-}
    fi
    model=$run/averaged
    "$nmt" translate "$model" "$data/test.en" --out "$run/test.de" --quiet
    {
        "$nmt" evaluate --hyp "$run/test.de" --ref "$data/test.de" --metric bleu,chrf \
            --src "$data/test.en"
        "$nmt" score "$model" "$data/test.en" "$data/test.de" 2>&1 > /dev/null | grep perplexity
        if [ "$cell" != none ]; then
            "$nmt" align "$model" "$data/test.en" "$data/test.de" --quiet --out "$run/test.align"
            "$nmt" evaluate --gold "$runs/links" --links "$run/test.align"
            "$nmt" evaluate --signals --model "$model" --src "$data/test.en" --hyp "$data/test.de"
        fi
    } > "$run/results.part"
    mv "$run/results.part" "$run/results.txt"
done
"${PYTHON:-python3}" "$here/table.py" "$runs"

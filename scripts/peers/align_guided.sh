#!/usr/bin/env bash
# Word alignment by Transformers that are guided by the statistical aligner, on the text and the gold
# links of align_eflomal.sh, so that error rates can stand beside those of eflomal.
#
#   scripts/peers/align_guided.sh CORPORA [PAIR ...]
#
# What CORPORA must hold stands in align_text.py; pairs are en-es, en-fr and grc-en (en-es and grc-en
# unless given). For each, configs/align-guided.toml is trained in both directions on the corpus and on
# the gold sentences, these ten times as often, but never on their links, and aligns these. Prints error rates with precision and
# recall: links of each direction (`argmax`), and of both after grow-diag-final-and. Runs and links
# go to $PEERS_HOME (target/peers unless set); runs that are done are not repeated.
#
# With $NMT set to a program, nothing is built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$here/../..
corpora=${1:?usage: align_guided.sh CORPORA [PAIR ...]}
shift
[ $# -gt 0 ] || set -- en-es grc-en
home=${PEERS_HOME:-$root/target/peers}
nmt=${NMT:-$root/target/release/nmt}
text=$home/align
mkdir -p "$home"

if [ -z "${NMT:-}" ]; then
    (cd "$root" && cargo build --release --workspace) >&2
fi
"${PYTHON:-python3}" "$here/align_text.py" "$corpora" "$text"

# Trains pair $1 from side $2 to side $3, languages $4 and $5, into $6.
direction() {
    local pair=$1 src=$2 tgt=$3 run=$6
    [ -e "$run/last/alignment.json" ] && [ -e "$run/done" ] && return
    local more=() gold="src=\"$text/$pair.gold.$src\",tgt=\"$text/$pair.gold.$tgt\"" train
    if [ -s "$text/$pair.corpus.src" ]; then
        train="{src=\"$text/$pair.corpus.$src\",tgt=\"$text/$pair.corpus.$tgt\"},{$gold,weight=10}"
    else
        train="{$gold}"
    fi
    [ "$pair" = grc-en ] && more=(--set tokenizer.joint=false --set model.transformer.tie=target)
    rm -rf "$run"
    "$nmt" train "$root/configs/align-guided.toml" --out "$run" --quiet \
        --set data.src="$4" --set data.tgt="$5" --set "data.train=[$train]" \
        --set "data.valid={$gold}" "${more[@]}"
    touch "$run/done"
}

# AER, precision and recall of links $1 on gold set $2.
quality() {
    "$nmt" evaluate --gold "$text/$2.talp" --links "$1" \
        | awk '$1 ~ /^(AER|precision|recall)$/ { printf " %6s", $2 }'
}

printf '%-24s   %20s   %20s   %20s\n' 'gold: AER prec. recall' forward reverse both
for pair in "$@"; do
    # Gold sentences stand behind the corpus; where there is none, they are all.
    first=$(cat "$text/$pair".*.lines | cut -d, -f1 | sort -n | head -n 1)
    for side in src tgt; do
        head -n $((first - 1)) "$text/$pair.$side" > "$text/$pair.corpus.$side"
        tail -n +"$first" "$text/$pair.$side" > "$text/$pair.gold.$side"
    done
    direction "$pair" src tgt "${pair%-*}" "${pair#*-}" "$home/guided/$pair"
    direction "$pair" tgt src "${pair#*-}" "${pair%-*}" "$home/guided/$pair-reverse"
    for gold in "$text/$pair".*.talp; do
        name=$(basename "$gold" .talp)
        for side in src tgt; do
            sed -n "$(cat "$text/$name.lines")p" "$text/$pair.$side" > "$text/gold.$side"
        done
        one=$home/guided/$pair/last other=$home/guided/$pair-reverse/last
        "$nmt" align "$one" "$text/gold.src" "$text/gold.tgt" --quiet \
            > "$text/found.forward"
        "$nmt" align "$other" "$text/gold.tgt" "$text/gold.src" --quiet \
            | awk '{ for (i = 1; i <= NF; i++) { split($i, a, "-"); $i = a[2] "-" a[1] } print }' \
            > "$text/found.reverse"
        "$nmt" align "$one" "$text/gold.src" "$text/gold.tgt" --reverse "$other" \
            --symmetrize grow-diag-final-and --quiet > "$text/found.both"
        printf '%-24s  %s  %s  %s\n' "$name" "$(quality "$text/found.forward" "$name")" \
            "$(quality "$text/found.reverse" "$name")" "$(quality "$text/found.both" "$name")"
    done
done

#!/usr/bin/env bash
# Word alignment without a network: `nmt align --statistical` beside eflomal (Östling and Tiedemann,
# 2016), on the same text, on two threads, one after the other.
#
#   scripts/peers/align_eflomal.sh CORPORA
#
# What CORPORA must hold stands in align_text.py. Text, links and eflomal's virtual environment go to
# $PEERS_HOME (target/peers unless set). Prints a table: alignment error rate with precision and
# recall of both after grow-diag-final-and, and seconds by the clock for both directions, including
# reading and writing; for eflomal symmetrization is not counted. More arguments are those of
# `eflomal-align`, such as `--source-prefix 4 --target-prefix 4`.
#
# With $NMT set to a program, nothing is built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
corpora=${1:?usage: align_eflomal.sh CORPORA [OPTION OF EFLOMAL]...}
shift
home=${PEERS_HOME:-$here/../../target/peers}
nmt=${NMT:-$here/../../target/release/nmt}
mkdir -p "$home"

if [ -z "${NMT:-}" ]; then
    (cd "$here/../.." && cargo build --release --workspace) >&2
fi
if ! "$home/eflomal/bin/python" -c 'import eflomal' > /dev/null 2>&1; then
    "${PYTHON:-python3}" -m venv "$home/eflomal" >&2
    "$home/eflomal/bin/python" -m pip install --quiet eflomal==2.0.0 >&2
fi
text=$home/align
"${PYTHON:-python3}" "$here/align_text.py" "$corpora" "$text"

TIMEFORMAT=%R
export OMP_NUM_THREADS=2

# AER, precision and recall of the links in file $1 on gold set $2.
quality() {
    sed -n "$(cat "$text/$2.lines")p" "$1" > "$text/found"
    "$nmt" evaluate --gold "$text/$2.talp" --links "$text/found" \
        | awk '$1 ~ /^(AER|precision|recall)$/ { printf "%s ", $2 }'
}

printf '%-24s | %-21s %8s | %-21s %8s\n' '' eflomal '' nmt ''
printf '%-24s | %6s %6s %7s %8s | %6s %6s %7s %8s\n' \
    'gold' AER prec. recall seconds AER prec. recall seconds
for pair in en-es en-fr grc-en; do
    src=$text/$pair.src tgt=$text/$pair.tgt
    theirs=$({ time "$home/eflomal/bin/eflomal-align" --overwrite -s "$src" -t "$tgt" \
        -f "$text/$pair.forward" -r "$text/$pair.reverse" "$@" > "$text/log" 2>&1; } 2>&1)
    "${PYTHON:-python3}" "$here/align_symmetrize.py" \
        "$text/$pair.forward" "$text/$pair.reverse" > "$text/$pair.eflomal"
    ours=$({ time "$nmt" align --statistical "$src" "$tgt" --threads 2 --quiet \
        --out "$text/$pair.nmt"; } 2>&1)
    for gold in "$text/$pair".*.talp; do
        name=$(basename "$gold" .talp)
        # shellcheck disable=SC2046
        printf '%-24s | %6s %6s %7s %8s | %6s %6s %7s %8s\n' "$name" \
            $(quality "$text/$pair.eflomal" "$name") "$theirs" \
            $(quality "$text/$pair.nmt" "$name") "$ours"
    done
done

#!/usr/bin/env bash
# How fast each cell of the grid trains: a few dozen updates each, on a machine that does nothing else.
#
#   scripts/grid/speed.sh [CELL ...]
#
# Cells are runs that scripts/grid/run.sh has made; without arguments all. Rates go into RUN/speed, where
# scripts/grid/table.py finds them. RUNS, THREADS and NMT are those of run.sh.
#
#   UPDATES=48     updates that are measured
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
runs=${RUNS:-runs/grid}
nmt=${NMT:-target/release/nmt}
cells=("$@")
if [ ${#cells[@]} -eq 0 ]; then
    for run in "$runs"/*/results.txt; do
        cells+=("$(basename "$(dirname "$run")")")
    done
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
for cell in "${cells[@]}"; do
    [ -s "$runs/$cell/speed" ] && continue
    "$nmt" train "$runs/$cell/config.toml" --out "$place/$cell" --threads "${THREADS:-2}" --quiet \
        --set training.updates="${UPDATES:-48}" --set training.report_every=8 \
        --set training.validate_every=1000000 --set training.translate_lines=1
    cp "$place/$cell/metrics.csv" "$runs/$cell/speed"
done
"${PYTHON:-python3}" "$here/table.py" "$runs"

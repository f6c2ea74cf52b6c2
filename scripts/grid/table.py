"""Prints what run.sh has found so far, as a table in Markdown.

    table.py RUNS

A row for each run of RUNS with `results.txt`: BLEU, chrF and perplexity of the test set, the
disagreement of alignments with the statistical aligner, the mean entropy of attention in bits, and
target tokens a second in training: the median of what speed.sh has measured, if it has.
"""
import csv
import re
import statistics
import sys
from pathlib import Path

KINDS = ["global", "local-m", "local-p", "none", "transformer"]
SCORES = ["dot", "general", "concat", "location", ""]


def number(pattern, text, digits):
    found = re.search(pattern, text, re.MULTILINE)
    return f"{float(found[1]):.{digits}f}" if found else "–"


def cell(name):
    """Kind, score and input feeding, as the table shows them."""
    if name in ("none", "transformer"):
        return name, "", "–"
    feeding = "off" if name.endswith("-off") else "on"
    kind, score = name.removesuffix("-off").rsplit("-", 1)
    return kind, score, feeding


def rate(run):
    """Median target tokens a second, if anything was measured."""
    try:
        with open(run / "speed", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["set"] == "train"]
    except FileNotFoundError:
        return "–"
    return f"{statistics.median(float(row['target_tokens_per_second']) for row in rows):,.0f}"


def row(run):
    text = (run / "results.txt").read_text(encoding="utf-8")
    values = [
        number(r"^BLEU\S* = ([\d.]+)", text, 2),
        number(r"^chrF\S* = ([\d.]+)", text, 2),
        number(r"perplexity ([\d.]+)", text, 2),
        number(r"^AER\s+([\d.]+)", text, 1),
        number(r"^entropy\s+([\d.]+)", text, 2),
        rate(run),
    ]
    return " | ".join([*cell(run.name), *values])


def place(run):
    kind, score, feeding = cell(run.name)
    return KINDS.index(kind), SCORES.index(score), feeding != "on"


def main(runs):
    done = [path.parent for path in runs.glob("*/results.txt")]
    heads = "kind | score | feeding | BLEU | chrF | perplexity | AER | entropy | tokens/s"
    print(f"| {heads} |")
    print("|---|---|---" + "|---:" * 6 + "|")
    for run in sorted(done, key=place):
        print(f"| {row(run)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

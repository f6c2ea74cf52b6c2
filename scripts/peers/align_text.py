"""Writes the parallel text that aligners are compared on: lower-cased words, gold pairs at the end.

    align_text.py CORPORA OUT

CORPORA holds `tatoeba-en-es/spa.tsv.gz`, `tatoeba-en-fr/fra.tsv.gz` (English TAB translation TAB
attribution), `align-gold/NAME.SRC-TGT.{SRC,TGT,talp}.gz` and `align-bible-grc-en/nt.{grc,en,talp}.gz`.
OUT gets, for each language pair, `PAIR.src` and `PAIR.tgt`, and for each gold set
`PAIR.NAME.talp` and `PAIR.NAME.lines`: which lines of the text it is about, as `FIRST,LAST`.
"""
import gzip
import re
import sys
from pathlib import Path

WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
# In the French gold sets an apostrophe stands alone or is written out.
APART = re.compile(r"\w+|[^\w\s]")

CORPORA = {
    "en-es": ("tatoeba-en-es/spa.tsv.gz", ["xl-wa-test", "europarl-graca"]),
    "en-fr": ("tatoeba-en-fr/fra.tsv.gz", ["hansards", "europarl-graca"]),
}


def lines(path):
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        return file.read().splitlines()


def words(text, pattern):
    return " ".join(pattern.findall(text.lower()))


def gold(out, pair, name, path, pairs):
    """Appends the pairs of a gold set, and writes its links and its place."""
    src, tgt = pair.split("-")
    sides = [lines(f"{path}.{side}.gz") for side in (src, tgt)]
    links = lines(f"{path}.talp.gz")
    assert len(sides[0]) == len(sides[1]) == len(links), path
    first = len(pairs) + 1
    pairs += [(one.lower(), other.lower()) for one, other in zip(*sides)]
    (out / f"{pair}.{name}.talp").write_text("\n".join(links) + "\n")
    (out / f"{pair}.{name}.lines").write_text(f"{first},{len(pairs)}\n")


def write(out, pair, pairs):
    for idx, side in enumerate(["src", "tgt"]):
        (out / f"{pair}.{side}").write_text("".join(f"{both[idx]}\n" for both in pairs))


def main(corpora, out):
    out.mkdir(parents=True, exist_ok=True)
    for pair, (table, sets) in CORPORA.items():
        rows = [row.split("\t") for row in lines(corpora / table)]
        tgt = APART if pair.endswith("fr") else WORD
        pairs = [(words(row[0], WORD), words(row[1], tgt)) for row in rows]
        for name in sets:
            gold(out, pair, name, corpora / "align-gold" / f"{name}.{pair}", pairs)
        write(out, pair, pairs)
    bible = []
    gold(out, "grc-en", "nt", corpora / "align-bible-grc-en" / "nt", bible)
    write(out, "grc-en", bible)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

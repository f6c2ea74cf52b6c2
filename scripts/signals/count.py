"""Counts what the flags of `nmt evaluate --signals --flagged` have caught of what plant.py planted.

    python count.py PREFIX.planted PREFIX.flagged NAME=REPORT...

Prints a row for each kind and size: how many were planted, and how many of them were flagged as what
they are at one of the words in question, in percent; then, for each further report, of a text
without planted damage, the share of lines that each flag stands at.
"""

import collections
import re
import sys

FLAG = re.compile(r"line (\d+): (\w+)(?:, source ([\d ]+))?(?:, target ([\d ]+))?$")
# Which flags are right for what was planted.
RIGHT = {
    "omission": {"omission"},
    "repetition": {"loop"},
    "echo": {"loop"},
    "loop": {"loop"},
    "copy": {"copied", "untranslated"},
    "untranslated": {"untranslated"},
}


def flags(path):
    """For each line that has flags, their kinds and words."""
    found = collections.defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for flag in filter(None, (FLAG.match(line) for line in file)):
            src, tgt = (set(map(int, (words or "").split())) for words in flag.group(3, 4))
            found[int(flag.group(1))].append((flag.group(2), src, tgt))
    return found


def n_lines(path):
    """How many lines the report is of: its summary begins with that."""
    with open(path, encoding="utf-8") as file:
        counts = [re.match(r"([\d,]+) lines", line) for line in file]
    return int([count for count in counts if count][-1].group(1).replace(",", ""))


def main():
    planted, flagged, *others = sys.argv[1:]
    found = flags(flagged)
    caught, all_of = collections.Counter(), collections.Counter()
    with open(planted, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            name, places = line.rstrip("\n").split("\t")
            kind, places = name.split("-")[0], set(map(int, places.split()))
            at = lambda src, tgt: (src if kind == "omission" else tgt) & places
            all_of[name] += 1
            caught[name] += any(
                flag in RIGHT[kind] and bool(at(src, tgt)) for flag, src, tgt in found[number]
            )
    kinds = list(RIGHT)
    for name in sorted(all_of, key=lambda name: (kinds.index(name.split("-")[0]), name)):
        print(f"{name:15} {all_of[name]:6} {100 * caught[name] / all_of[name]:6.1f}")
    for name, path in (other.split("=", 1) for other in others):
        counts = collections.Counter()
        for of_line in flags(path).values():
            counts.update({flag for flag, _, _ in of_line} | {"any"})
        shares = [
            f"{kind} {100 * counts[kind] / n_lines(path):.1f}"
            for kind in ("omission", "loop", "copied", "untranslated", "any")
        ]
        print(f"{name:15} {n_lines(path):6} " + ", ".join(shares))


if __name__ == "__main__":
    main()

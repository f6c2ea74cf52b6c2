"""Plants faults in a parallel corpus, and says how many of each `nmt prepare` found.

    faults.py plant SRC TGT OUT [--third FILE]     write OUT/noisy.SRC, OUT/noisy.TGT and OUT/labels
    faults.py judge OUT PREPARED                   compare with the corpus in PREPARED

SRC and TGT are files; their endings are the languages. A thousand pairs of each fault are added:

    mismatched      the target of another pair
    untranslated    another sentence of the source language as target
    swapped         source and target exchanged
    cut             the first third of the target
    third language  a line of FILE as target
"""
import argparse
import collections
import random
from pathlib import Path

EACH = 1000


def lines(path):
    return Path(path).read_text(encoding="utf-8").split("\n")[:-1]


def plant(args):
    rng = random.Random(3)
    src, tgt = lines(args.src), lines(args.tgt)
    third = lines(args.third) if args.third else []
    rng.shuffle(third)
    rows = [(a, b, "good") for a, b in zip(src, tgt)]

    def some():
        return rng.sample(range(len(src)), EACH)

    def other(i):
        return (i + rng.randrange(1, len(src))) % len(src)

    rows += [(src[i], tgt[other(i)], "mismatched") for i in some()]
    rows += [(src[i], src[other(i)], "untranslated") for i in some()]
    rows += [(tgt[i], src[i], "swapped") for i in some()]
    rows += [(src[i], " ".join(tgt[i].split()[:max(1, len(tgt[i].split()) // 3)]), "cut") for i in some()]
    rows += [(src[i], line, "third language") for i, line in zip(some(), third)]
    rng.shuffle(rows)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    names = ["noisy" + Path(path).suffix for path in (args.src, args.tgt)] + ["labels"]
    for column, name in enumerate(names):
        text = "".join(row[column] + "\n" for row in rows)
        (out / name).write_text(text, encoding="utf-8")


def judge(args):
    out = Path(args.out)
    sides = sorted(path for path in out.glob("noisy.*") if path.suffix != ".toml")
    kept = [lines(Path(args.prepared) / ("train" + path.suffix)) for path in sides]
    kept = set(zip(*kept))
    rows = zip(*map(lines, sides), lines(out / "labels"))
    counts, dropped = collections.Counter(), collections.Counter()
    for *texts, label in rows:
        counts[label] += 1
        dropped[label] += tuple(" ".join(text.split()) for text in texts) not in kept
    for label, n in counts.most_common():
        print(f"{label:16}{n:7,}{100 * dropped[label] / n:7.1f} % dropped")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(required=True)
    planted = verbs.add_parser("plant")
    for name in ("src", "tgt", "out"):
        planted.add_argument(name)
    planted.add_argument("--third")
    planted.set_defaults(run=plant)
    judged = verbs.add_parser("judge")
    for name in ("out", "prepared"):
        judged.add_argument(name)
    judged.set_defaults(run=judge)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

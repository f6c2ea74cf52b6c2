"""Writes a parallel corpus of any size, to see how `nmt prepare` goes through it.

    large.py DIR GIGABYTES

`large.src` and `large.tgt` in DIR together have so many gigabytes. Words follow Zipf's law over a
vocabulary of a million on each side, with names that come once, so that there are as many different
words as in real text. Every word has one translation, and the target's words are in another order.
One line in twenty is a copy of an earlier one, one in fifty has a target of another line, one in a
hundred is empty on a side. After the first part all is said again with another first word. The same
arguments give the same bytes.
"""
import random
import sys
from itertools import accumulate
from pathlib import Path

VOCABULARY = 1_000_000
LETTERS = "aeioustrnlmdkpbg"
# Lines of a part.
PART = 1_000_000


def word(number):
    """The word with this number: the more frequent, the shorter."""
    letters = ""
    while True:
        letters += LETTERS[number % 16]
        number //= 16
        if number == 0:
            return letters


def part():
    """Lines of both sides."""
    rng = random.Random(7)
    words = [(word(n) + "e", word(n)[::-1] + "on") for n in range(VOCABULARY)]
    weights = list(accumulate(1 / (n + 10) for n in range(VOCABULARY)))
    pairs = []
    for line in range(PART):
        chance = rng.random()
        if pairs and chance < 0.05:
            pairs.append(rng.choice(pairs))
            continue
        some = rng.choices(words, cum_weights=weights, k=4 + line % 9)
        if chance > 0.9:
            some.append((f"No{line}", f"No{line}"))
        src = " ".join(pair[0] for pair in some) + "."
        tgt = " ".join(pair[1] for pair in reversed(some)) + "."
        if pairs and 0.05 <= chance < 0.07:
            tgt = pairs[-1][1]
        elif 0.07 <= chance < 0.08:
            tgt = ""
        pairs.append((src, tgt))
    return [[pair[side] for pair in pairs] for side in range(2)]


def main(folder, gigabytes):
    folder.mkdir(parents=True, exist_ok=True)
    sides = part()
    with open(folder / "large.src", "w", encoding="utf-8") as src_file, \
            open(folder / "large.tgt", "w", encoding="utf-8") as tgt_file:
        written, number = 0, 0
        while written < gigabytes * 1e9:
            for file, lines, ending in zip((src_file, tgt_file), sides, ("e", "on")):
                first = "\n" + word(number + VOCABULARY) + ending + " "
                text = (first + first.join(lines))[1:] + "\n"
                file.write(text)
                written += len(text)
            number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))

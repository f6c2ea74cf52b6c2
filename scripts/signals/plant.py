"""Damages translations on purpose, one damage a line, and notes which.

    python plant.py SRC TGT LINKS PREFIX [--seed N]

SRC and TGT are sentence pairs without damage, one a line, LINKS their word links in Pharaoh format,
from a source that does not know the model under test. Writes PREFIX.src and PREFIX.tgt, the damaged
pairs, and PREFIX.planted, a line for each: `KIND-SIZE`, and behind a tab the words that a flag has to
point to, counted from 0: of the source for omissions, of the target for all others.

A content word has a letter and is not among the 50 most frequent words of its file. Planted are, in
each pair that has room for them:

omission-N      N target words in a row are gone; the first and the last of them are content words
repetition-N    N target words in a row stand there twice, one behind the other
echo-N          the same, with at least one word between
loop-2          two target words in a row stand there four times
copy-N          N content words of the target are the source words that they are linked to
untranslated-1  the target is the source
"""

import argparse
import collections
import random

SIZES = (1, 2, 3, 5)
FREQUENT = 50
# Words that a damaged translation has at least.
LEAST = 3


def bare(word):
    """A word without marks around it, in lower case."""
    letters = [i for i, c in enumerate(word) if c.isalnum()]
    return word[letters[0] : letters[-1] + 1].lower() if letters else ""


def content_test(sentences):
    counts = collections.Counter(bare(word) for words in sentences for word in words)
    frequent = {word for word, _ in counts.most_common(FREQUENT)}
    return lambda word: any(c.isalpha() for c in word) and bare(word) not in frequent


def spans(tgt, size):
    """Where `size` words in a row may stand; the last word of a line stays."""
    return range(len(tgt) - size)


def omission(tgt, links, size, content, draw):
    source = lambda at: {s for s, t in links if at <= t < at + size}
    ends = lambda at: content(tgt[at]) and content(tgt[at + size - 1])
    fits = len(tgt) - size >= LEAST
    places = [at for at in spans(tgt, size) if fits and ends(at) and source(at)]
    if not places:
        return None
    at = draw.choice(places)
    return tgt[:at] + tgt[at + size :], source(at)


def repetition(tgt, size, times, draw):
    places = list(spans(tgt, size))
    if not places:
        return None
    end = draw.choice(places) + size
    more = tgt[end - size : end] * (times - 1)
    return tgt[:end] + more + tgt[end:], range(end, end + len(more))


def echo(tgt, size, draw):
    places = [(at, to) for at in spans(tgt, size) for to in range(at + size + 1, len(tgt))]
    if not places:
        return None
    at, to = draw.choice(places)
    return tgt[:to] + tgt[at : at + size] + tgt[to:], range(to, to + size)


def copy(src, tgt, links, size, content, draw):
    """`content` tests words of either side."""
    linked = collections.defaultdict(list)
    for s, t in links:
        linked[t].append(s)
    places = [
        (t, found[0])
        for t, found in sorted(linked.items())
        if len(found) == 1
        and content[0](src[found[0]])
        and content[1](tgt[t])
        and bare(src[found[0]]) != bare(tgt[t])
    ]
    if len(places) < size:
        return None
    damaged = list(tgt)
    chosen = draw.sample(places, size)
    for t, s in chosen:
        damaged[t] = src[s]
    return damaged, {t for t, _ in chosen}


def damaged(pairs, seed):
    """Yields kind, source, and damaged target with the places of the damage, if there is room."""
    content = [content_test([pair[side] for pair in pairs]) for side in (0, 1)]
    draw = random.Random(seed)
    for src, tgt, links in pairs:
        for size in SIZES:
            yield f"omission-{size}", src, omission(tgt, links, size, content[1], draw)
        for size in SIZES:
            yield f"repetition-{size}", src, repetition(tgt, size, 2, draw)
        for size in (3, 5):
            yield f"echo-{size}", src, echo(tgt, size, draw)
        yield "loop-2", src, repetition(tgt, 2, 4, draw)
        for size in (1, 2, 3):
            yield f"copy-{size}", src, copy(src, tgt, links, size, content, draw)
        yield "untranslated-1", src, (src, range(len(src)))


def lines(path):
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def main():
    parser = argparse.ArgumentParser(description="Damages translations on purpose.")
    for name in ("src", "tgt", "links", "prefix"):
        parser.add_argument(name)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    files = [lines(path) for path in (asked.src, asked.tgt, asked.links)]
    pairs = [
        (src.split(), tgt.split(), [tuple(map(int, link.split("-"))) for link in links.split()])
        for src, tgt, links in zip(*files, strict=True)
    ]
    with (
        open(f"{asked.prefix}.src", "w", encoding="utf-8") as sources,
        open(f"{asked.prefix}.tgt", "w", encoding="utf-8") as targets,
        open(f"{asked.prefix}.planted", "w", encoding="utf-8") as planted,
    ):
        for kind, src, damage in damaged(pairs, asked.seed):
            if damage:
                tgt, places = damage
                print(*src, file=sources)
                print(*tgt, file=targets)
                print(kind, " ".join(map(str, sorted(places))), sep="\t", file=planted)


if __name__ == "__main__":
    main()

"""Combines the links of two directions by grow-diag-final-and, for aligners that do not.

    align_symmetrize.py FORWARD REVERSE > LINKS

Both files hold a line of `source-target` links for each sentence pair. Koehn, Och and Marcu (2003),
“Statistical Phrase-Based Translation”, §3.
"""
import sys

NEIGHBOURS = [(-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)]


def parse(line):
    return {tuple(map(int, link.split("-"))) for link in line.split()}


def grow_diag_final_and(forward, reverse):
    union, links = forward | reverse, forward & reverse
    src, tgt = {link[0] for link in links}, {link[1] for link in links}

    def add(link):
        links.add(link)
        src.add(link[0])
        tgt.add(link[1])

    if links:
        height, width = (1 + max(link[side] for link in union) for side in (0, 1))
        before = None
        while before != len(links):
            before = len(links)
            for one in range(height):
                for other in range(width):
                    if (one, other) not in links:
                        continue
                    for step in NEIGHBOURS:
                        link = one + step[0], other + step[1]
                        new = link[0] not in src or link[1] not in tgt
                        if new and link in union:
                            add(link)
    for direction in (forward, reverse):
        for link in sorted(direction):
            if link[0] not in src and link[1] not in tgt:
                add(link)
    return sorted(links)


for lines in zip(open(sys.argv[1]), open(sys.argv[2]), strict=True):
    print(" ".join("%d-%d" % link for link in grow_diag_final_and(*map(parse, lines))))

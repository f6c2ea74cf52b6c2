"""Draws what a query of global and of local attention costs, by the length of the source, as SVG.

    RAYON_NUM_THREADS=1 cargo bench --workspace --bench local | cost.py > picture.svg

Both axes are logarithmic. Lines are those of the first table of the bench, a search step.
"""
import math
import sys

WIDTH, HEIGHT = 720, 420
LEFT, TOP, RIGHT, BOTTOM = 76, 96, 24, 62
LINES = [
    ("global", "#2f6fdf", "#6aa3ff", "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z"),
    ("local-m", "#c2410c", "#ffb86b", "M-4.2-4.2h8.4v8.4h-8.4z"),
    ("local-p", "#15803d", "#6fdc8c", "M0-5.6L5.4 4H-5.4z"),
]
STEPS = (1, 2, 5)


def table(lines):
    """The lengths of the first table, and for each of LINES its microseconds."""
    rows = []
    for line in lines:
        cells = line.split()
        if len(cells) == 6 and cells[0].isdigit():
            rows.append([float(cell) for cell in cells[:4]])
        elif rows:
            break
    if not rows:
        sys.exit("cost.py: no table of the bench `local` on standard input")
    return [row[0] for row in rows], list(zip(*(row[1:] for row in rows)))


def round_numbers(low, high):
    """1, 2 and 5 times the powers of ten from below `low` to above `high`."""
    numbers = [step * 10.0**power for power in range(-3, 7) for step in STEPS]
    first = max(i for i, number in enumerate(numbers) if number <= low)
    last = min(i for i, number in enumerate(numbers) if number >= high)
    return numbers[first : last + 1]


def scale(low, high, start, end):
    """From numbers between `low` and `high` to places between `start` and `end`."""
    span = math.log(high / low)
    return lambda number: round(start + (end - start) * math.log(number / low) / span, 1)


def style():
    rules = ["svg{font:13px system-ui,'Noto Sans',sans-serif}.title{font-weight:600;font-size:15px}"]
    light = [".ground{fill:#fff}text{fill:#1f2430}.pale{fill:#5b6472}.grid{stroke:#e3e6ec}"]
    dark = [".ground{fill:#14171e}text{fill:#e6e8ee}.pale{fill:#9aa3b2}.grid{stroke:#2a2f3a}"]
    for idx, (_, on_light, on_dark, _) in enumerate(LINES):
        for rules_of, color in ((light, on_light), (dark, on_dark)):
            rules_of.append(f".l{idx}{{stroke:{color};fill:none;stroke-width:2}}.m{idx}{{fill:{color}}}")
    return "".join([*rules, *light, "@media(prefers-color-scheme:dark){", *dark, "}"])


def draw(lengths, costs):
    shown = [cost for line in costs for cost in line]
    marks = round_numbers(min(shown), max(shown))
    x = scale(lengths[0], lengths[-1], LEFT + 12, WIDTH - RIGHT - 12)
    y = scale(marks[0], marks[-1], HEIGHT - BOTTOM, TOP)
    title = "Cost of a query by the length of the source"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title">'
    )
    yield f'<title id="title">{title}</title><style>{style()}</style>'
    yield f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>'
    yield f'<text class="title" x="20" y="30">{title}</text>'
    for mark in marks:
        place = y(mark)
        yield f'<path class="grid" d="M{LEFT} {place}H{WIDTH - RIGHT}"/>'
        yield f'<text class="pale" x="{LEFT - 8}" y="{place + 4.5}" text-anchor="end">{mark:g}</text>'
    for length in lengths:
        place = f'x="{x(length)}" y="{HEIGHT - BOTTOM + 22}"'
        yield f'<text class="pale" {place} text-anchor="middle">{length:,.0f}</text>'
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f'x="22" y="{middle}" transform="rotate(-90 22 {middle})" text-anchor="middle"'
    yield f"<text {turned}>microseconds a query</text>"
    below = f'x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle"'
    yield f"<text {below}>tokens of the source</text>"
    for idx, ((name, _, _, mark), line) in enumerate(zip(LINES, costs)):
        left = 20 + 120 * idx
        yield f'<path class="l{idx}" d="M{left} 56h26"/>'
        yield f'<path class="m{idx}" transform="translate({left + 13} 56)" d="{mark}"/>'
        yield f'<text x="{left + 34}" y="60.5">{name}</text>'
        places = [(x(length), y(cost)) for length, cost in zip(lengths, line)]
        yield f'<path class="l{idx}" d="M{"L".join(f"{a} {b}" for a, b in places)}"/>'
        for (a, b), length, cost in zip(places, lengths, line):
            tip = f"<title>{name}, {length:,.0f} tokens: {cost:g} µs</title>"
            yield f'<path class="m{idx}" transform="translate({a} {b})" d="{mark}">{tip}</path>'
    yield "</svg>"


if __name__ == "__main__":
    print("\n".join(draw(*table(sys.stdin))))

"""Lines of `train_transformer.py` and of `cargo bench --bench step` → a table with ratios.

Both print `WHAT: N target tokens/s (N per processor second), peak memory N GiB`, where WHAT names
the shape (T, B, R) and the precision between commas. The last columns divide by PyTorch's best of the
shape in the same precision, and by its best in any.
"""
import re
import sys

LINE = re.compile(
    r"(?P<what>.*): (?P<wall>[\d.,]+) target tokens/s "
    r"\((?P<processor>[\d.,]+) per processor second\)(, peak memory (?P<memory>[\d.]+) GiB)?")


def row(line):
    """A line as a row, or nothing if it tells no rate."""
    found = LINE.match(line.strip())
    if not found:
        return None
    words = [word.strip() for word in found["what"].split(",")]
    number = lambda key: float(found[key].replace(",", ""))
    shape = next((word for word in words if word in ("T", "B", "R")), "?")
    return {
        "shape": shape,
        "precision": next((word for word in words if word in ("f32", "medium", "bf16")), "f32"),
        "theirs": words[0].startswith("PyTorch"),
        "what": ", ".join(word for word in words if word != shape),
        "wall": number("wall"), "processor": number("processor"),
        "memory": found["memory"] or "–",
    }


def best(rows, shape, precision=None):
    """PyTorch's best rate per processor second."""
    return max((r["processor"] for r in rows if r["theirs"] and r["shape"] == shape
                and precision in (None, r["precision"])), default=None)


def main():
    rows = [r for r in map(row, sys.stdin) if r]
    print("| shape | what | target tokens/s | per processor second | peak GiB "
          "| × PyTorch, same precision | × PyTorch, best |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for r in rows:
        bases = [best(rows, r["shape"], r["precision"]), best(rows, r["shape"])]
        ratios = [f"{r['processor'] / base:.2f}" if base else "–" for base in bases]
        rates = [f"{r['wall']:,.0f}", f"{r['processor']:,.0f}"]
        print("|", " | ".join([r["shape"], r["what"], *rates, r["memory"], *ratios]), "|")


if __name__ == "__main__":
    main()

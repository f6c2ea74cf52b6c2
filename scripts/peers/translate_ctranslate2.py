"""`nmt translate` beside CTranslate2: are the translations the same, and who is faster?

    python scripts/peers/translate_ctranslate2.py --nmt target/release/nmt --model RUN/best \\
        --input test.en [--int8 DIR] [--shape B]

The model directory, a Transformer's, is converted (`ctranslate2_model.py`). Then

1.  all lines are translated by both in single precision, greedily and with a beam of 5 and three
    length penalties. At least 99 % of the translations must be the same; the others are printed
    with both scores. If they are fewer, the exit code is 1.
2.  both translate in turn, in batches and one line at a time, and a table of sentences a second
    is printed, with the peak memory, and how long a process takes for one line.

With `--int8 DIR`, the same model with weights of eight bits (`nmt export`), our second precision is
timed too. With `--shape B` the second part is repeated with random weights of that shape, in both
precisions, and translations of 16 tokens.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ctranslate2_model import LONGEST, Model, convert, copy_with_search, random_model

WORKER = Path(__file__).with_name("ctranslate2_worker.py")
MEASURE = Path(__file__).with_name("measure.py")
FORCED = 16
# Most tokens of a translation, for both: ours could depend on the source, theirs cannot.
LIMIT = 100
# Our length penalty and theirs. They divide by length^α too, and the end of the sentence counts
# for them if they are asked to return it. Without a penalty they search on until the most probable
# hypothesis ends, ours until as many have ended as the beam is wide: a few differ there.
PENALTIES = [("none", 0.0), ("average:0.6", 0.6), ("average:1", 1.0)]
# What is timed: a name, the beam, and the sentences of a batch.
SITUATIONS = [("greedy, batches of 64", 1, 64), ("beam 5, batches of 32", 5, 32),
              ("greedy, one at a time", 1, 1), ("beam 5, one at a time", 5, 1)]
FORCED_SITUATIONS = [("greedy, batches of 32", 1, 32), ("beam 5, batches of 32", 5, 32)]


def options(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--nmt", required=True, help="the program")
    add("--model", required=True, help="a model directory")
    add("--int8", metavar="DIR", help="the same model with weights of eight bits")
    add("--input", required=True, help="lines to translate")
    add("--lines", type=int, default=1000, help="how many of them")
    add("--alone", type=int, default=200, help="how many of them one at a time")
    add("--forced", type=int, default=320, help="how many of them with --shape")
    add("--threads", type=int, nargs="+", default=[1])
    add("--repeat", type=int, default=3, help="the fastest of so many runs counts")
    add("--shape", choices=["B"], help="time random weights of this shape as well")
    add("--only", choices=["check", "time"], help="one part")
    return parser.parse_args(arguments)


def measure(command):
    """Seconds and memory of a process."""
    run = subprocess.run([sys.executable, str(MEASURE), *command], stdout=subprocess.PIPE)
    if run.returncode != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return json.loads(run.stdout)


class Job:
    """Both programs on the same model and the same lines."""

    def __init__(self, options, folder, name, model, int8, forced):
        self.options, self.folder, self.forced = options, Path(folder, name), forced
        self.model = model
        lines = Path(options.input).read_text(encoding="utf-8").split("\n")[:-1]
        lines = [line for line in lines if line.strip()][:options.lines]
        self.lines = [line for line in lines if len(model.pieces(line)) < LONGEST]
        self.pieces = [model.pieces(line) for line in self.lines]
        self.theirs = self.folder / "ctranslate2"
        convert(model, self.theirs)
        # They have no guard against loops.
        search = dict(loop_guard=0, min_len=forced or 1, max_len_factor=0.0,
                      max_len_offset=forced or LIMIT)
        self.ours = {"f32": copy_with_search(model, self.folder / "f32", **search)}
        if int8:
            self.ours["int8"] = copy_with_search(int8, self.folder / "int8", **search)

    def run_theirs(self, kind, beam, batch, n, workers=1, threads=1, penalty=1.0, scores=False,
                   repeat=1):
        """Translations, scores, seconds and memory of the first `n` lines."""
        sources = self.folder / f"sources-{n}"
        sources.write_text("".join(json.dumps(pieces) + "\n" for pieces in self.pieces[:n]))
        settings = {
            "model": str(self.theirs), "sources": str(sources), "type": kind,
            "workers": workers, "threads": threads, "alone": batch == 1, "scores": scores,
            "repeat": repeat,
            "search": {
                "beam_size": beam, "max_batch_size": batch, "length_penalty": penalty,
                "return_end_token": True, "max_input_length": 0,
                "min_decoding_length": self.forced or 1,
                "max_decoding_length": self.forced or LIMIT,
            },
        }
        out = self.folder / "theirs"
        usage = measure([sys.executable, str(WORKER), str(out), json.dumps(settings)])
        return {**json.loads(out.read_text(encoding="utf-8")), "memory": usage["memory"],
                "whole": usage["wall"]}

    def run_ours(self, precision, beam, batch, n, threads=1, arguments=()):
        """Output, seconds and memory of the first `n` lines, of the whole process."""
        source, out = self.folder / f"lines-{n}", self.folder / "out"
        source.write_text("".join(line + "\n" for line in self.lines[:n]), encoding="utf-8")
        # As many sentences a batch on average: ours are bounded by tokens, ends included.
        tokens = sum(len(pieces) + 1 for pieces in self.pieces[:n])
        command = [self.options.nmt, "translate", str(self.ours[precision]), str(source),
                   "--out", str(out), "--beam", str(beam), "--threads", str(threads),
                   "--batch-tokens", str(max(1, round(batch * tokens / max(n, 1)))),
                   *(["--read-ahead", "1"] if batch == 1 else []), *arguments]
        return {**measure(command), "out": out.read_text(encoding="utf-8")}


def check(job):
    """Whether both translate all lines alike in single precision."""
    n, passed = len(job.lines), True
    for beam, (ours, theirs) in [(1, PENALTIES[-1])] + [(5, penalty) for penalty in PENALTIES]:
        found = job.run_theirs("float32", beam, 32, n, penalty=theirs, scores=True)
        arguments = ["--format", "jsonl", "--length-penalty", ours]
        records = job.run_ours("f32", beam, 32, n, arguments=arguments)["out"].split("\n")[:-1]
        best = [json.loads(record)["translations"][0] for record in records]
        ends = job.model.tokenizer.id_to_token(job.model.config["eos_token_id"])
        different = []
        for line, mine, tokens, score in zip(job.lines, best, found["tokens"], found["scores"]):
            text = job.model.text([token for token in tokens if token != ends])
            if text != mine["text"]:
                different.append((line, mine["text"], mine["score"], text, score))
        share = 1 - len(different) / n
        passed &= share >= 0.99
        print(f"beam {beam}, {ours}: {n - len(different)} of {n} translations are the same "
              f"({100 * share:.1f} %)")
        for line, mine, score, text, their_score in different:
            print(f"    source       {line}\n    nmt          {score:.6f}  {mine}\n"
                  f"    CTranslate2  {their_score:.6f}  {text}")
    return passed


def time_theirs(job, kind, beam, batch, n, threads):
    """The fastest of the ways to use so many threads."""
    ways = {(threads, 1), (1, threads)} if batch > 1 else {(1, threads)}
    runs = [job.run_theirs(kind, beam, batch, n, *way, repeat=job.options.repeat) for way in ways]
    best = min(runs, key=lambda run: run["wall"])
    return {"wall": n / best["wall"], "processor": n / best["processor"], "memory": best["memory"]}


def time_ours(job, precision, beam, batch, n, threads):
    """Seconds of a whole process without those of one that translates a single line."""
    many, one = ([job.run_ours(precision, beam, batch, size, threads)
                  for _ in range(job.options.repeat)] for size in (n, 1))
    took = lambda key: min(run[key] for run in many) - min(run[key] for run in one)
    return {"wall": (n - 1) / took("wall"), "processor": (n - 1) / took("processor"),
            "memory": max(run["memory"] for run in many)}


def tell(cells):
    print("|", " | ".join(cells), "|", flush=True)


def time_all(job, name, situations):
    """A row for each situation, precision and number of threads."""
    for threads in job.options.threads:
        for situation, beam, batch in situations:
            most = job.options.forced if job.forced else job.options.lines
            n = min(len(job.lines), job.options.alone if batch == 1 else most)
            for kind, precision in [("float32", "f32"), ("int8", "int8")]:
                theirs = time_theirs(job, kind, beam, batch, n, threads)
                cells = [name, situation, precision, str(threads)]
                if precision in job.ours:
                    ours = time_ours(job, precision, beam, batch, n, threads)
                    numbers = [(ours[key], theirs[key]) for key in ("wall", "processor")]
                    cells += [cell for mine, their in numbers
                              for cell in (f"{their:,.0f}", f"{mine:,.0f}", f"{mine / their:.2f}")]
                    cells += [f"{theirs['memory']:.0f}", f"{ours['memory']:.0f}"]
                else:
                    cells += [f"{theirs['wall']:,.0f}", "–", "–", f"{theirs['processor']:,.0f}",
                              "–", "–", f"{theirs['memory']:.0f}", "–"]
                tell(cells)


def time_start(job):
    """Seconds of a whole process that translates one line greedily, medians of seven."""
    for kind, precision in [("float32", "f32"), ("int8", "int8")]:
        took = [job.run_theirs(kind, 1, 1, 1)["whole"] for _ in range(7)]
        told = f"one line, {precision}: CTranslate2 {statistics.median(took):.3f} s"
        if precision in job.ours:
            took = [job.run_ours(precision, 1, 1, 1)["wall"] for _ in range(7)]
            told += f", nmt {statistics.median(took):.3f} s"
        print(told)


def rounded(chosen, model):
    """The same model with weights of eight bits."""
    out = model.path.with_name(model.path.name + "-int8")
    subprocess.run([chosen.nmt, "export", str(model.path), "--precision", "int8",
                    "--out", str(out)], check=True, stderr=subprocess.DEVNULL)
    return Model(out)


def main(arguments):
    chosen = options(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model = Model(chosen.model)
        job = Job(chosen, folder, "given", model, chosen.int8 and Model(chosen.int8), None)
        passed = chosen.only == "time" or check(job)
        if chosen.only != "check":
            print("\nsentences a second, and a processor second; peak MiB of the process\n")
            tell(["model", "what", "weights", "threads", "CTranslate2", "nmt", "×",
                  "CTranslate2 / cpu s", "nmt / cpu s", "×", "CTranslate2 MiB", "nmt MiB"])
            tell(["---"] * 3 + ["---:"] * 9)
            time_all(job, "given", SITUATIONS)
            if chosen.shape:
                random = random_model(chosen.shape, model, Path(folder, "random"))
                forced = Job(chosen, folder, chosen.shape, random, rounded(chosen, random), FORCED)
                time_all(forced, f"{chosen.shape}, {FORCED} tokens", FORCED_SITUATIONS)
            print()
            time_start(job)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

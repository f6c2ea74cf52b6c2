"""Shapes T, B and R in a plain PyTorch loop, to stand beside `cargo bench --bench step`.

    T  Transformer, 4 + 4 layers, dim 128, feed-forward 256, 4 heads, dropout 0.3
    B  Transformer, 6 + 6 layers, dim 512, feed-forward 2048, 8 heads, dropout 0.1
    R  LSTM 2 x 512, bidirectional, general attention, input feeding, dropout 0.3 (train_rnn.py)

Label smoothing 0.1, Adam (0.9, 0.98), gradients clipped to a norm of 1, 4,096 target tokens a
batch.

Without `--train-to`, times whole updates (batch, forward, backward, clipping, Adam) and prints real
target tokens, EOS counted and padding not, per second of wall-clock and of processor time, and the
peak memory of the process:

    python scripts/peers/train_transformer.py --shape T --synthetic
    python scripts/peers/train_transformer.py --shape B --data prepared/multi30k/multi30k.toml \\
        --precision bf16 --attention best --updates 8

With `--train-to`, trains until a test set reaches each of the BLEU scores, and prints the processor
seconds spent in updates at each validation:

    python scripts/peers/train_transformer.py --shape T --data prepared/multi30k/multi30k.toml \\
        --train-to 30 35 37.8 --lr 5e-3 --warmup 500
"""
import argparse
import itertools
import json
import math
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import batches
from search import bleu
from train_rnn import Luong
from transformer import Transformer

SHAPES = {
    "T": dict(dim=128, ffn_dim=256, heads=4, layers=4, dropout=0.3),
    "B": dict(dim=512, ffn_dim=2048, heads=8, layers=6, dropout=0.1),
}
SYNTHETIC_VOCAB = 8000
SMOOTHING, CLIP = 0.1, 1.0


def options(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--shape", choices=["T", "B", "R"], default="T")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--synthetic", action="store_true",
                      help="the benchmark's batch, again and again [default]")
    data.add_argument("--data", metavar="TOML", help="the experiment file that `nmt prepare` wrote")
    add("--batch-tokens", type=int, default=4096)
    add("--updates", type=int, default=20, help="how many to time")
    add("--skip", type=int, default=3, help="how many to make before the clock starts")
    add("--precision", choices=["f32", "medium", "bf16"], default="f32",
        help="bf16: autocast; medium: f32, but products may round to bf16 inside")
    add("--attention", choices=["fused", "plain", "best"], default="fused",
        help="PyTorch's scaled_dot_product_attention, or products and softmax; best: try")
    add("--rows", choices=["padded", "packed", "best"], default="packed",
        help="compute padding too, or put real tokens together outside attention; best: try")
    add("--compile", action="store_true", help="torch.compile the loss")
    add("--threads", type=int, default=1)
    add("--seed", type=int, default=1)
    add("--json", action="store_true", help="print the result as a line of JSON")
    train = parser.add_argument_group("training to a score")
    train.add_argument("--train-to", metavar="BLEU", type=float, nargs="+")
    train.add_argument("--lr", type=float, default=5e-3)
    train.add_argument("--warmup", type=int, default=500, help="updates until --lr is reached")
    train.add_argument("--max-updates", type=int, default=4000)
    train.add_argument("--validate-every", type=int, help="updates [default: an epoch]")
    train.add_argument("--beam", type=int, default=5)
    train.add_argument("--test", default="test2016", help="a test set of the file, or `valid`")
    train.add_argument("--save", metavar="FILE", help="keep the latest weights here")
    args = parser.parse_args(arguments)
    if args.train_to and not args.data:
        parser.error("--train-to needs --data")
    return args


def network(args, vocab):
    torch.manual_seed(args.seed)
    if args.shape == "R":
        return Luong(vocab)
    fused, packed = args.attention == "fused", args.rows == "packed"
    return Transformer(vocab, fused=fused, packed=packed, **SHAPES[args.shape])


def epochs(pairs, max_tokens, seed):
    """Batches of pairs for ever, with the number of the epoch."""
    rng = random.Random(seed)
    for epoch in itertools.count(1):
        for chosen in batches.plan(pairs, max_tokens, rng):
            yield epoch, chosen


class Trainer:
    def __init__(self, network, args):
        self.network = network
        self.autocast = torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16")
        self.optimizer = torch.optim.Adam(
            network.parameters(), lr=args.lr, betas=(0.9, 0.98), eps=1e-9, fused=True)
        self.loss = torch.compile(self.sum, dynamic=True) if args.compile else self.sum
        self.wall = self.processor = 0.0

    def sum(self, batch, smoothing):
        """The loss over all real target tokens. Only they are projected to the vocabulary."""
        logits = self.network.logits(self.network.states(batch)).float()
        targets = batch.tgt_out[batch.tgt_out != batches.PAD]
        return F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")

    def update(self, make, lr):
        """One whole update, on the clock; returns its target tokens and their mean loss."""
        wall, processor = time.perf_counter(), time.process_time()
        self.network.train()
        batch = make()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with self.autocast:
            loss = self.loss(batch, SMOOTHING) / batch.tgt_tokens
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor
        return batch.tgt_tokens, loss.item()

    @torch.no_grad()
    def validate(self, planned):
        """Nats per target token, without smoothing."""
        self.network.eval()
        made = [batches.batch(chosen) for chosen in planned]
        with self.autocast:
            total = sum(self.sum(batch, 0.0).item() for batch in made)
        return total / sum(batch.tgt_tokens for batch in made)


def preloaded():
    """What this process was started with, as far as the libraries in it tell."""
    maps = Path("/proc/self/maps")
    loaded = maps.read_text() if maps.exists() else ""
    known = {"tcmalloc": "tcmalloc", "jemalloc": "jemalloc", "/mkl.so": "MKL's path for Intel's"}
    return [name for part, name in known.items() if part in loaded] or ["system allocator"]


def peak_gib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(args, corpus):
    """The rate of whole updates."""
    if not args.data:
        fixed = batches.synthetic(SYNTHETIC_VOCAB, args.seed)
        vocab, makes = SYNTHETIC_VOCAB, itertools.repeat(lambda: fixed)
    else:
        vocab, planned = corpus.vocab, epochs(corpus.train(), args.batch_tokens, args.seed)
        makes = ((lambda chosen=chosen: batches.batch(chosen)) for _, chosen in planned)
    trainer = Trainer(network(args, vocab), args)
    for _ in range(args.skip):
        trainer.update(next(makes), 1e-3)
    trainer.wall = trainer.processor = 0.0
    tokens = sum(trainer.update(next(makes), 1e-3)[0] for _ in range(args.updates))
    return {
        "shape": args.shape, "precision": args.precision, "threads": torch.get_num_threads(),
        "attention": args.attention, "rows": args.rows, "preloaded": preloaded(),
        "torch": torch.__version__, "tokens": tokens,
        "per_second": round(tokens / trainer.wall, 1),
        "per_processor_second": round(tokens / trainer.processor, 1),
        "peak_gib": round(peak_gib(), 2),
    }


def show(result):
    what = [f"PyTorch {result['torch']}", result["shape"], result["precision"],
            f"{result['threads']} threads", *result["preloaded"]]
    if result["shape"] != "R":
        what += [f"{result['attention']} attention", f"{result['rows']} rows"]
    return (f"{', '.join(what)}: {result['per_second']:.0f} target tokens/s ({result['per_processor_second']:.0f} per "
            f"processor second), peak memory {result['peak_gib']:.2f} GiB")


def best_of(args, arguments):
    """Measures each way to compute in a process of its own, and returns the fastest."""
    choices = {"attention": ["fused", "plain"], "rows": ["packed", "padded"]}
    asked = {name: getattr(args, name) for name in choices}
    ways = itertools.product(*(choices[k] if v == "best" else [v] for k, v in asked.items()))
    results = []
    for attention, rows in ways:
        command = [sys.executable, __file__, *arguments, "--json"]
        command += ["--attention", attention, "--rows", rows]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print(show(results[-1]), file=sys.stderr)
    return max(results, key=lambda result: result["per_processor_second"])


def train(args, corpus):
    """Trains until the last score is reached."""
    model = network(args, corpus.vocab)
    trainer = Trainer(model, args)
    planned = epochs(corpus.train(), args.batch_tokens, args.seed)
    valid = batches.plan(corpus.valid(), args.batch_tokens, random.Random(0))
    left, reached, last_epoch, signature = sorted(args.train_to), {}, 1, ""
    print(" updates  epoch  processor s   wall s  train  valid ppl   BLEU", flush=True)
    for step in range(1, args.max_updates + 2):
        epoch, chosen = next(planned)
        due = (step - 1) % args.validate_every == 0 if args.validate_every else epoch > last_epoch
        if step > 1 and (due or step > args.max_updates):
            nats = trainer.validate(valid)
            score, signature = bleu(model, corpus, args.test, args.beam)
            print(f"{step - 1:8} {last_epoch:6} {trainer.processor:12.1f} {trainer.wall:8.1f} "
                  f"{loss:6.3f} {math.exp(nats):10.3f} {score:6.2f}", flush=True)
            if args.save:
                torch.save(model.state_dict(), args.save)
            while left and score >= left[0]:
                reached[left.pop(0)] = round(trainer.processor, 1)
            if not left or step > args.max_updates:
                break
        last_epoch = epoch
        lr = args.lr * min(step / args.warmup, math.sqrt(args.warmup / step))
        _, loss = trainer.update(lambda: batches.batch(chosen), lr)
    for score in args.train_to:
        when = f"{reached[score]} processor seconds" if score in reached else "not reached"
        print(f"BLEU {score}: {when}")
    print(f"{args.test}, beam {args.beam}, {signature}, torch {torch.__version__}, "
          f"{args.precision}, {', '.join(preloaded())}, peak memory {peak_gib():.2f} GiB")


def main(arguments):
    args = options(arguments)
    if args.shape == "R":
        args.attention = args.rows = "none"
    if "best" in (args.attention, args.rows):
        result = best_of(args, arguments)
    else:
        torch.set_num_threads(args.threads)
        torch.set_float32_matmul_precision("medium" if args.precision == "medium" else "highest")
        corpus = batches.Corpus(args.data) if args.data else None
        if args.train_to:
            train(args, corpus)
            return
        result = measure(args, corpus)
    print(json.dumps(result) if args.json else show(result))


if __name__ == "__main__":
    main(sys.argv[1:])

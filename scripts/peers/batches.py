"""Sentence pairs as padded batches: synthetic ones of the benchmark's shape, or real ones.

Real data is what `nmt prepare CONFIG` leaves, read through its experiment file: the same clean
text and the same `tokenizer.json`, so both sides see the same tokens.
"""
import random
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

PAD, UNK, BOS, EOS = 0, 1, 2, 3


@dataclass
class Batch:
    """Padded ids `[batch, len]`, and how many tokens are real."""

    src: torch.Tensor
    tgt_in: torch.Tensor
    tgt_out: torch.Tensor
    tgt_tokens: int


def padded(sequences):
    longest = max(map(len, sequences))
    return torch.tensor([ids + [PAD] * (longest - len(ids)) for ids in sequences])


def batch(pairs):
    """A batch of pairs of ids without BOS and EOS."""
    return Batch(
        src=padded([src + [EOS] for src, _ in pairs]),
        tgt_in=padded([[BOS] + tgt for _, tgt in pairs]),
        tgt_out=padded([tgt + [EOS] for _, tgt in pairs]),
        tgt_tokens=sum(len(tgt) + 1 for _, tgt in pairs),
    )


def synthetic(vocab, seed):
    """The batch of `crates/train/benches/step.rs`: 256 sentences of 16 target tokens and of 10 to
    19 source tokens, EOS included, with random ids."""
    rng = random.Random(seed)
    ids = lambda length: [rng.randrange(4, vocab) for _ in range(length)]
    return batch([(ids(9 + i % 10), ids(15)) for i in range(256)])


def plan(pairs, max_tokens, rng):
    """One epoch: neighbours in length share a batch of at most `max_tokens` target tokens, padding
    and EOS included, and batches come in random order. What `crates/text/src/batching.rs` does."""
    order = list(range(len(pairs)))
    rng.shuffle(order)
    order.sort(key=lambda i: (len(pairs[i][1]), len(pairs[i][0])))
    batches, current = [], []
    for i in order:
        # Sorted by target length: the newest is the longest.
        if current and (len(pairs[i][1]) + 1) * (len(current) + 1) > max_tokens:
            batches.append(current)
            current = []
        current.append(i)
    batches.append(current)
    rng.shuffle(batches)
    return [[pairs[i] for i in chosen] for chosen in batches]


class Corpus:
    """The data of an experiment file as `nmt prepare` writes it; paths are relative to the current
    directory, as for `nmt train`."""

    def __init__(self, experiment):
        settings = tomllib.loads(Path(experiment).read_text())
        self.data = settings["data"]
        folder = settings["tokenizer"].get("dir")
        if folder is None:
            raise SystemExit(f"{experiment} learns its tokenizer: run `nmt prepare {experiment}`, "
                             "and give the experiment file that it writes")
        joint = Path(folder, "tokenizer.json")
        paths = [joint, joint] if joint.exists() else [
            Path(folder, f"tokenizer.{side}.json") for side in ("src", "tgt")]
        self.src_tokenizer, self.tgt_tokenizer = (Tokenizer.from_file(str(p)) for p in paths)
        if not joint.exists():
            raise SystemExit("the shapes tie all embeddings: prepare with `tokenizer.joint=true`")
        self.vocab = self.src_tokenizer.get_vocab_size()
        self.normalize = self.data["clean"]["normalize"]

    def train(self):
        """Pairs of ids."""
        longest = self.data.get("max_len", 100)
        pairs = [pair for files in self.data["train"] for pair in zip(*self.ids(files))]
        return [(s, t) for s, t in pairs if s and t and max(len(s), len(t)) <= longest]

    def valid(self):
        """Pairs of ids."""
        return list(zip(*self.ids(self.data["valid"])))

    def test(self, name):
        """Source ids and reference lines of a test set, or of the development set, `valid`."""
        files = self.data["valid"] if name == "valid" else self.data["test"][name]
        return self.ids(files)[0], Path(files["tgt"]).read_text().splitlines()

    def text(self, ids):
        return self.tgt_tokenizer.decode(ids)

    def ids(self, files):
        result = []
        for side, tokenizer in [("src", self.src_tokenizer), ("tgt", self.tgt_tokenizer)]:
            encoded = tokenizer.encode_batch(self.lines(files[side]), add_special_tokens=False)
            result.append([encoding.ids for encoding in encoded])
        return result

    def lines(self, path):
        lines = Path(path).read_text().split("\n")[:-1]
        if self.normalize["nfc"]:
            lines = [unicodedata.normalize("NFC", line) for line in lines]
        if self.normalize["spaces"]:
            lines = [" ".join(line.split()) for line in lines]
        return lines

"""A Transformer's model directory, as `nmt train` writes it → the format of CTranslate2.

    python scripts/peers/ctranslate2_model.py RUN/best OUT

What CTranslate2 has no counterpart for, or for which none was compared, is refused: rotary
positions, windows, RMS norm, separate vocabularies.
"""
import hashlib
import json
import math
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

# Rows of the table of sinusoidal positions: the longest sentence that CTranslate2 can number.
LONGEST = 1024
SHAPES = {"B": dict(dim=512, ffn_dim=2048, heads=8, encoder_layers=6, decoder_layers=6)}


class Model:
    """A model directory: its configuration, its tokenizer and its parameters."""

    def __init__(self, path):
        self.path = Path(path)
        self.config = json.loads((self.path / "config.json").read_text())
        if "transformer" not in self.config["model"]:
            raise SystemExit(f"{path} is no Transformer: CTranslate2 has no recurrent models")
        self.shape = self.config["model"]["transformer"]
        refused = {"positions": "rotary", "norm": "rms"}
        for key, value in refused.items():
            if self.shape[key] == value:
                raise SystemExit(f"{path}: {key} = {value} was not compared")
        if self.shape.get("window"):
            raise SystemExit(f"{path}: attention in a window was not compared")
        if not self.config["vocab"]["joint"]:
            raise SystemExit(f"{path}: separate vocabularies were not compared")
        self.tokenizer = Tokenizer.from_file(str(self.path / "tokenizer.json"))
        normalize = self.path / "normalize.json"
        self.normalize = json.loads(normalize.read_text()) if normalize.exists() else {}

    def vocabulary(self):
        """Tokens in the order of their ids."""
        return [self.tokenizer.id_to_token(i) for i in range(self.tokenizer.get_vocab_size())]

    def parameters(self):
        return load_file(self.path / "model.safetensors")

    def pieces(self, line):
        """The tokens of a line. (`text::Normalize::apply`, then `text::Tokenizer::encode`)"""
        if self.normalize.get("nfc"):
            line = unicodedata.normalize("NFC", line)
        if self.normalize.get("spaces"):
            line = " ".join(line.split())
        return self.tokenizer.encode(line, add_special_tokens=False).tokens

    def text(self, pieces):
        """The text of tokens, on one line."""
        ids = [self.tokenizer.token_to_id(piece) for piece in pieces]
        return " ".join(self.tokenizer.decode(ids).splitlines())


def sinusoids(dim):
    """The table of Vaswani et al. (2017), §3.5, sine and cosine side by side."""
    places, columns = np.arange(LONGEST, dtype=np.float64)[:, None], np.arange(dim)
    angles = places / 10_000 ** ((columns - columns % 2) / dim)
    return np.where(columns % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def fill(part, weights, prefix):
    """Weight and bias of a linear layer, or of a norm, which calls them otherwise."""
    names = ("gamma", "beta") if hasattr(part, "gamma") else ("weight", "bias")
    for name, source in zip(names, ("weight", "bias")):
        setattr(part, name, weights[f"{prefix}.{source}"])


def fill_feed_forward(part, weights, prefix, gated):
    fill(part.layer_norm, weights, f"{prefix}.norm")
    fill(part.linear_1, weights, f"{prefix}.output")
    if not gated:
        fill(part.linear_0, weights, f"{prefix}.input")
        return
    # The rows of the gate stand before those of the value.
    for name in ("weight", "bias"):
        gate, value = np.split(weights[f"{prefix}.input.{name}"], 2)
        setattr(part.linear_0, name, gate)
        setattr(part.linear_0_noact, name, value)


def fill_layer(layer, weights, prefix, gated):
    attention = layer.self_attention
    fill(attention.layer_norm, weights, f"{prefix}.attention.norm")
    fill(attention.linear[0], weights, f"{prefix}.attention.input")
    fill(attention.linear[1], weights, f"{prefix}.attention.output")
    if hasattr(layer, "attention"):
        cross = layer.attention
        fill(cross.layer_norm, weights, f"{prefix}.cross.norm")
        for linear, part in zip(cross.linear, ("query", "memory", "output")):
            fill(linear, weights, f"{prefix}.cross.{part}")
    fill_feed_forward(layer.ffn, weights, f"{prefix}.feed_forward", gated)


def convert(model, out):
    """Writes `model` into the folder `out`, in place of what was there."""
    from ctranslate2.specs import TransformerSpec, common_spec

    shape, weights = model.shape, model.parameters()
    activations = {"relu": "RELU", "gelu": "GELU", "silu": "SWISH", "swish": "SWISH"}
    spec = TransformerSpec.from_config(
        (shape["encoder_layers"], shape["decoder_layers"]), shape["heads"],
        pre_norm=shape["norm_place"] == "before", ffn_glu=shape["gated"],
        activation=common_spec.Activation[activations[shape["activation"]]])
    # `tie` merges tables under one name.
    table = lambda *names: next(weights[name] for name in names if name in weights)
    sides = {"encoder": spec.encoder, "decoder": spec.decoder}
    for side, part in sides.items():
        embeddings = part.embeddings[0] if side == "encoder" else part.embeddings
        embeddings.weight = table(f"{side}.embedding.weight", "embedding.weight")
        learned = weights.get(f"{side}.positions.weight")
        part.position_encodings.encodings = (
            sinusoids(shape["dim"]) if learned is None else learned)
        if shape["norm_place"] == "before":
            fill(part.layer_norm, weights, f"{side}.norm")
        for i, layer in enumerate(part.layer):
            fill_layer(layer, weights, f"{side}.{i}", shape["gated"])
    spec.decoder.projection.weight = table(
        "output.weight", "decoder.embedding.weight", "embedding.weight")
    spec.decoder.projection.bias = weights["output.bias"]
    spec.config.add_source_eos = True
    spec.register_source_vocabulary(model.vocabulary())
    spec.register_target_vocabulary(model.vocabulary())
    spec.validate()
    spec.optimize()
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir(parents=True)
    spec.save(str(out))


def copy_with_search(model, out, **settings):
    """The same model directory in the folder `out`, by links, searched as `settings` say."""
    out = Path(out)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for file in model.path.iterdir():
        if file.is_file() and file.name != "generation_config.json":
            (out / file.name).symlink_to(file.resolve())
    (out / "generation_config.json").write_text(json.dumps({"search": settings}))
    return out


def random_model(shape, like, out, seed=1):
    """A model of another shape with random weights and the tokenizer of `like`."""
    out, rng = Path(out), np.random.default_rng(seed)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    config = json.loads(json.dumps(like.config))
    sizes = config["model"]["transformer"]
    sizes.update(SHAPES[shape], tie="all", positions="sinusoidal", gated=False)
    dim, ffn_dim, vocab = sizes["dim"], sizes["ffn_dim"], config["vocab"]["tgt"]
    weights = {}

    def affine(prefix, output, inputs):
        bound = math.sqrt(3 / inputs)
        weights[f"{prefix}.weight"] = rng.uniform(-bound, bound, (output, inputs))
        weights[f"{prefix}.bias"] = np.zeros(output)

    def norm(prefix):
        weights[f"{prefix}.weight"], weights[f"{prefix}.bias"] = np.ones(dim), np.zeros(dim)

    affine("output", vocab, dim)
    weights["embedding.weight"] = weights.pop("output.weight")
    for side in ("encoder", "decoder"):
        if sizes["norm_place"] == "before":
            norm(f"{side}.norm")
        for layer in range(sizes[f"{side}_layers"]):
            prefix = f"{side}.{layer}"
            parts = {"attention.input": (3 * dim, dim), "attention.output": (dim, dim),
                     "feed_forward.input": (ffn_dim, dim), "feed_forward.output": (dim, ffn_dim)}
            if side == "decoder":
                parts |= {"cross.query": (dim, dim), "cross.memory": (2 * dim, dim),
                          "cross.output": (dim, dim)}
            for part, (output, inputs) in parts.items():
                affine(f"{prefix}.{part}", output, inputs)
            for part in sorted({part.split(".")[0] for part in parts}):
                norm(f"{prefix}.{part}.norm")
    save_file({name: value.astype(np.float32) for name, value in weights.items()},
              out / "model.safetensors")
    digest = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    config["weights_sha256"] = digest
    (out / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "normalize.json"):
        if (like.path / name).exists():
            shutil.copy(like.path / name, out / name)
    return Model(out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    convert(Model(sys.argv[1]), sys.argv[2])

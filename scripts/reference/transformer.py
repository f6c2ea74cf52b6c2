"""Reference vectors for the Transformer of crates/model. Run from the workspace root; the results,
crates/model/tests/vectors/transformer-*.json, are committed:

    pip install torch==2.11.0 && python scripts/reference/transformer.py

The network of Vaswani et al. (2017) and its later variants, forward and backward, in float64: one
sentence, one head and one query at a time. Nothing is padded, masked, packed or batched here.
Where `torch.nn` has the same layer, the script checks itself against it before it writes.

Parameters are numbered in name order; element i of number p is

    0.3 * sin(1.7 * p + 0.61 * i + 0.017 * i * i)       and one more for the weights of norms,

so that a test can make them again and the files hold results alone. The square keeps matrices from
having rank two.
"""
import json
import math
from pathlib import Path

import torch
from torch.nn import functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

BOS, EOS = 2, 3
DIM, FFN_DIM, MAX_LEN = 12, 10, 11
SRC_VOCAB, TGT_VOCAB = 17, 13
# Lengths without EOS. No sentence is as long as its translation.
SRC_LENGTHS, TGT_LENGTHS = [3, 1, 5, 7, 2], [5, 2, 7, 1, 3]
LAYER_NORM_EPS, RMS_NORM_EPS = 1e-5, 1e-6
SMOOTHING = [0.0, 0.1]  # gradients are those of the last one
LOOKED_AT = 0  # the sentence whose cross-attention is written

CASES = {
    "pre-relu-sinusoidal": {
        "norm_first": True, "norm": "layer", "activation": "relu", "gated": False,
        "positions": "sinusoidal", "tie": "all", "heads": 3, "encoder_layers": 2,
        "decoder_layers": 2,
    },
    "post-gelu-learned": {
        "norm_first": False, "norm": "layer", "activation": "gelu", "gated": False,
        "positions": "learned", "tie": "none", "heads": 2, "encoder_layers": 2,
        "decoder_layers": 2,
    },
    "pre-rms-gated-silu-rotary": {
        "norm_first": True, "norm": "rms", "activation": "silu", "gated": True,
        "positions": "rotary", "tie": "target", "heads": 3, "encoder_layers": 2,
        "decoder_layers": 2,
    },
    "deep-encoder": {
        "norm_first": True, "norm": "layer", "activation": "gelu", "gated": False,
        "positions": "sinusoidal", "tie": "source", "heads": 2, "encoder_layers": 3,
        "decoder_layers": 1,
    },
    "post-gated-gelu": {
        "norm_first": False, "norm": "layer", "activation": "gelu", "gated": True,
        "positions": "sinusoidal", "tie": "none", "heads": 3, "encoder_layers": 2,
        "decoder_layers": 2,
    },
}


def joint(config):
    """Whether both sides share a vocabulary, which tying the source needs."""
    return config["tie"] in ("source", "all")


def tables(config):
    """Names of the tables of source embedding, target embedding and output."""
    src, tgt, output = "encoder.embedding.weight", "decoder.embedding.weight", "output.weight"
    shared = "embedding.weight"
    return {
        "none": (src, tgt, output),
        "target": (src, tgt, tgt),
        "source": (shared, shared, output),
        "all": (shared, shared, shared),
    }[config["tie"]]


def shapes(config):
    """The parameters by name."""
    tgt_vocab = SRC_VOCAB if joint(config) else TGT_VOCAB
    result = {}

    def linear(name, out, inner):
        result[f"{name}.weight"], result[f"{name}.bias"] = [out, inner], [out]

    def norm(name):
        result[f"{name}.weight"] = [DIM]
        if config["norm"] == "layer":
            result[f"{name}.bias"] = [DIM]

    for table, vocab in zip(tables(config), [SRC_VOCAB, tgt_vocab, tgt_vocab]):
        result[table] = [vocab, DIM]
    result["output.bias"] = [tgt_vocab]
    for side in ("encoder", "decoder"):
        if config["positions"] == "learned":
            result[f"{side}.positions.weight"] = [MAX_LEN, DIM]
        for layer in range(config[f"{side}_layers"]):
            name = f"{side}.{layer}"
            linear(f"{name}.attention.input", 3 * DIM, DIM)
            linear(f"{name}.attention.output", DIM, DIM)
            linear(f"{name}.feed_forward.input", FFN_DIM * (2 if config["gated"] else 1), DIM)
            linear(f"{name}.feed_forward.output", DIM, FFN_DIM)
            sublayers = ["attention", "feed_forward"]
            if side == "decoder":
                linear(f"{name}.cross.query", DIM, DIM)
                linear(f"{name}.cross.memory", 2 * DIM, DIM)
                linear(f"{name}.cross.output", DIM, DIM)
                sublayers.append("cross")
            for sublayer in sublayers:
                norm(f"{name}.{sublayer}.norm")
        if config["norm_first"]:
            norm(f"{side}.norm")
    return dict(sorted(result.items()))


def parameters(config):
    """The parameters, filled by the formula above."""
    result = {}
    for p, (name, shape) in enumerate(shapes(config).items()):
        offset = 1.0 if name.endswith("norm.weight") else 0.0
        values = [
            offset + 0.3 * math.sin(1.7 * p + 0.61 * i + 0.017 * i * i)
            for i in range(math.prod(shape))
        ]
        result[name] = torch.tensor(values).view(shape).requires_grad_()
    return result


def sentences(lengths, vocab, phase):
    """Ids without BOS and EOS: all are common tokens, some come more than once."""
    words = vocab - 4
    return [
        [4 + (phase + 5 * b + 3 * i + i * i) % words for i in range(length)]
        for b, length in enumerate(lengths)
    ]


class Transformer:
    """The network over one sentence pair at a time, remembering what it saw."""

    def __init__(self, config, p):
        self.config, self.p = config, p
        self.heads, self.head_dim = config["heads"], DIM // config["heads"]
        self.src_table, self.tgt_table, self.output_table = (p[name] for name in tables(config))

    def linear(self, name, x):
        return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def norm(self, name, x):
        weight = self.p[f"{name}.weight"]
        if self.config["norm"] == "rms":  # Zhang and Sennrich (2019)
            return x / torch.sqrt((x * x).mean(1, keepdim=True) + RMS_NORM_EPS) * weight
        x = x - x.mean(1, keepdim=True)  # Ba et al. (2016)
        x = x / torch.sqrt((x * x).mean(1, keepdim=True) + LAYER_NORM_EPS)
        return x * weight + self.p[f"{name}.bias"]

    def rotate(self, x):
        """A head's queries or keys turned by their positions (Su et al., 2021, eq. 34)."""
        if self.config["positions"] != "rotary":
            return x
        half = self.head_dim // 2
        rows = []
        for position, row in enumerate(x):
            turned = [None] * self.head_dim
            for i in range(half):
                angle = position * 10000 ** (-2 * i / self.head_dim)
                cos, sin = math.cos(angle), math.sin(angle)
                a, b = row[i], row[i + half]
                turned[i], turned[i + half] = a * cos - b * sin, a * sin + b * cos
            rows.append(torch.stack(turned))
        return torch.stack(rows)

    def heads_of(self, query, key, value, causal, rotary):
        """Heads side by side `[queries, dim]`, and their weights `[heads, queries, keys]`."""
        outputs, all_weights = [], []
        for head in range(self.heads):
            columns = slice(head * self.head_dim, (head + 1) * self.head_dim)
            q, k, v = query[:, columns], key[:, columns], value[:, columns]
            if rotary:
                q, k = self.rotate(q), self.rotate(k)
            rows, weights = [], []
            for t in range(len(q)):
                seen = t + 1 if causal else len(k)
                exps = torch.exp(k[:seen] @ q[t] / math.sqrt(self.head_dim))
                a = exps / exps.sum()
                rows.append(a @ v[:seen])
                weights.append(torch.cat([a, torch.zeros(len(k) - seen)]))
            outputs.append(torch.stack(rows))
            all_weights.append(torch.stack(weights))
        return torch.cat(outputs, 1), torch.stack(all_weights)

    def attention(self, name, x, causal):
        query, key, value = self.linear(f"{name}.input", x).split(DIM, 1)
        out, _ = self.heads_of(query, key, value, causal, rotary=True)
        return self.linear(f"{name}.output", out)

    def cross(self, name, x, memory, seen):
        query = self.linear(f"{name}.query", x)
        key, value = self.linear(f"{name}.memory", memory).split(DIM, 1)
        out, weights = self.heads_of(query, key, value, causal=False, rotary=False)
        seen.append(weights)
        return self.linear(f"{name}.output", out)

    def feed_forward(self, name, x):
        x = self.linear(f"{name}.input", x)
        activation = {
            "relu": lambda x: x * (x > 0),
            "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
            "silu": lambda x: x / (1 + torch.exp(-x)),
        }[self.config["activation"]]
        if self.config["gated"]:  # Shazeer (2020)
            gate, value = x.split(FFN_DIM, 1)
            x = activation(gate) * value
        else:
            x = activation(x)
        return self.linear(f"{name}.output", x)

    def sublayer(self, name, x, function):
        if self.config["norm_first"]:
            return x + function(self.norm(f"{name}.norm", x))
        return self.norm(f"{name}.norm", x + function(x))

    def embed(self, side, table, ids):
        x = table[torch.tensor(ids)] * math.sqrt(DIM)
        if self.config["positions"] == "learned":
            return x + self.p[f"{side}.positions.weight"][: len(ids)]
        if self.config["positions"] == "sinusoidal":  # Vaswani et al. (2017), section 3.5
            angles = [[t / 10000 ** (2 * i / DIM) for i in range(DIM // 2)] for t in range(len(x))]
            pairs = [[[math.sin(a), math.cos(a)] for a in row] for row in angles]
            return x + torch.tensor(pairs).flatten(1)
        return x

    def encode(self, ids):
        """States after the embedding, after each layer, and as the decoder gets them."""
        x = self.embed("encoder", self.src_table, ids)
        states = [x]
        for layer in range(self.config["encoder_layers"]):
            name = f"encoder.{layer}"
            x = self.sublayer(
                f"{name}.attention", x, lambda x: self.attention(f"{name}.attention", x, False)
            )
            x = self.sublayer(
                f"{name}.feed_forward", x, lambda x: self.feed_forward(f"{name}.feed_forward", x)
            )
            states.append(x)
        return states, self.norm("encoder.norm", x) if self.config["norm_first"] else x

    def decode(self, ids, memory):
        """As `encode`, with the weights of cross-attention, layer by layer."""
        x = self.embed("decoder", self.tgt_table, ids)
        states, seen = [x], []
        for layer in range(self.config["decoder_layers"]):
            name = f"decoder.{layer}"
            x = self.sublayer(
                f"{name}.attention", x, lambda x: self.attention(f"{name}.attention", x, True)
            )
            x = self.sublayer(
                f"{name}.cross", x, lambda x: self.cross(f"{name}.cross", x, memory, seen)
            )
            x = self.sublayer(
                f"{name}.feed_forward", x, lambda x: self.feed_forward(f"{name}.feed_forward", x)
            )
            states.append(x)
        return states, self.norm("decoder.norm", x) if self.config["norm_first"] else x, seen

    def loss(self, states, targets, smoothing):
        """Summed over the tokens; a share `smoothing` of a target is spread over all words."""
        logits = states @ self.output_table.T + self.p["output.bias"]
        log_probs = logits - torch.log(torch.exp(logits).sum(1, keepdim=True))
        correct = sum(log_probs[t, target] for t, target in enumerate(targets))
        return -(1 - smoothing) * correct - smoothing * log_probs.mean(1).sum()


def torch_layers(model):
    """The same layers of `torch.nn`, with the same weights."""
    config = model.config
    activation = {"relu": F.relu, "gelu": F.gelu}[config["activation"]]
    same = {"dropout": 0.0, "activation": activation, "batch_first": True,
            "norm_first": config["norm_first"], "layer_norm_eps": LAYER_NORM_EPS}

    def weights(name, decoder):
        def get(key):
            return model.p[f"{name}.{key}"].detach()

        def both(theirs, ours):
            return {f"{theirs}.{kind}": get(f"{ours}.{kind}") for kind in ("weight", "bias")}

        attention = {f"self_attn.in_proj_{kind}": get(f"attention.input.{kind}")
                     for kind in ("weight", "bias")}
        pairs = [("self_attn.out_proj", "attention.output"), ("norm1", "attention.norm"),
                 ("linear1", "feed_forward.input"), ("linear2", "feed_forward.output")]
        if decoder:
            attention |= {
                f"multihead_attn.in_proj_{kind}":
                    torch.cat([get(f"cross.query.{kind}"), get(f"cross.memory.{kind}")])
                for kind in ("weight", "bias")
            }
            pairs += [("multihead_attn.out_proj", "cross.output"), ("norm2", "cross.norm"),
                      ("norm3", "feed_forward.norm")]
        else:
            pairs.append(("norm2", "feed_forward.norm"))
        for theirs, ours in pairs:
            attention |= both(theirs, ours)
        return attention

    def layers(side, kind):
        for layer in range(config[f"{side}_layers"]):
            made = kind(DIM, config["heads"], FFN_DIM, **same)
            made.load_state_dict(weights(f"{side}.{layer}", side == "decoder"))
            yield made

    encoder = list(layers("encoder", torch.nn.TransformerEncoderLayer))
    return encoder, list(layers("decoder", torch.nn.TransformerDecoderLayer))


def check(model, src, tgt):
    """Compares layer by layer with `torch.nn`, which has neither gates nor rotary positions."""
    encoder, decoder = torch_layers(model)
    ours, memory = model.encode(src)
    for layer, before, after in zip(encoder, ours, ours[1:]):
        assert torch.allclose(layer(before[None])[0], after, rtol=0, atol=1e-13)
    ours, _, _ = model.decode(tgt, memory)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(len(tgt), dtype=torch.float64)
    for layer, before, after in zip(decoder, ours, ours[1:]):
        theirs = layer(before[None], memory[None], tgt_mask=mask)[0]
        assert torch.allclose(theirs, after, rtol=0, atol=1e-13)


def run(name, config):
    """A case: what goes in and what comes out; numbers are flat, in row-major order."""
    p = parameters(config)
    model = Transformer(config, p)
    tgt_vocab = SRC_VOCAB if joint(config) else TGT_VOCAB
    src = sentences(SRC_LENGTHS, SRC_VOCAB, 0)
    tgt = sentences(TGT_LENGTHS, tgt_vocab, 2)
    encoder_layers = [[] for _ in range(config["encoder_layers"])]
    encoder, decoder, losses = [], [], [0.0 for _ in SMOOTHING]
    for b, (s, t) in enumerate(zip(src, tgt)):
        if not config["gated"] and config["norm"] == "layer":
            check(model, s + [EOS], [BOS] + t)
        states, memory = model.encode(s + [EOS])
        _, out, seen = model.decode([BOS] + t, memory)
        for layer, x in zip(encoder_layers, states[1:]):
            layer.append(x)
        encoder.append(memory)
        decoder.append(out)
        losses = [sum_ + model.loss(out, t + [EOS], e) for sum_, e in zip(losses, SMOOTHING)]
        if b == LOOKED_AT:
            looked = seen
    losses[-1].backward()
    logits = torch.cat(decoder) @ model.output_table.T + p["output.bias"]
    targets = torch.tensor([id for t in tgt for id in t + [EOS]])
    for loss, smoothing in zip(losses, SMOOTHING):
        theirs = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="sum")
        assert torch.allclose(theirs, loss, rtol=1e-14)

    def flat(tensors):
        return torch.cat(tensors).flatten().tolist()

    return {
        "made_by": f"scripts/reference/transformer.py, torch {torch.__version__}, float64",
        "name": name,
        "config": {"dim": DIM, "ffn_dim": FFN_DIM, "max_len": MAX_LEN, **config},
        "vocab": {"src": SRC_VOCAB, "tgt": tgt_vocab, "joint": joint(config)},
        "pairs": [list(pair) for pair in zip(src, tgt)],
        "parameters": [[name, list(tensor.shape)] for name, tensor in p.items()],
        "encoder_layers": [flat(layer) for layer in encoder_layers],
        "encoder": flat(encoder),
        "decoder": flat(decoder),
        "cross_attention": {
            "sentence": LOOKED_AT,
            "shape": list(looked[0].shape),
            "layers": [flat(list(weights)) for weights in looked],
        },
        "losses": [
            {"smoothing": e, "objective": loss.item()} for e, loss in zip(SMOOTHING, losses)
        ],
        "gradients": {name: tensor.grad.flatten().tolist() for name, tensor in p.items()},
    }


for name, config in CASES.items():
    path = Path(f"crates/model/tests/vectors/transformer-{name}.json")
    case = run(name, config)
    # One key and one gradient a line: a difference shows where it is.
    gradients = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in case.pop("gradients").items()]
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in case.items()]
    lines.append('"gradients": {\n' + ",\n".join(gradients) + "\n}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(path, path.stat().st_size)

"""Reference vectors for crates/model: loss and gradients of whole recurrent networks, in float64.

Run from the workspace root with PyTorch 2.11; the result,
crates/model/tests/data/network.json, is committed:

    python scripts/reference/network.py

One sentence after the other: nothing is padded, masked, packed or batched. Recurrent layers are
PyTorch's own `nn.LSTM` and `nn.GRU` (encoder) and their cells (decoder), the loss is its own
`cross_entropy`; bridge, input feeding, attention and residual connections are written out from
Luong, Pham and Manning (2015).

Parameters go by the names and shapes of crates/model, weights `[out, in]`, and are translated
where PyTorch's differ:

- gates lie in the same order in both: input, forget, candidate, output (LSTM); reset, update,
  candidate (GRU);
- PyTorch has two biases for each gate. Ours is the one of the input; the other is zero, except
  for the GRU's candidate, where it is our `hidden_bias`, inside the reset gate;
- `decoder.feed` is the part of the first decoder layer's input weight that the attentional state
  of the step before is multiplied with: PyTorch gets `[input; feed]`, side by side;
- `attention.combine.weight` takes the context first, then the decoder state.
"""

import json
import math

import torch
from torch.func import functional_call
from torch.nn import functional as F

SEED = 20150917
torch.manual_seed(SEED)
torch.set_default_dtype(torch.float64)

PAD, UNK, BOS, EOS = range(4)
SRC_VOCAB, TGT_VOCAB = 11, 13
SRC_LENGTHS, TGT_LENGTHS = [1, 2, 3, 5, 7], [3, 7, 1, 2, 5]  # without EOS
SMOOTHING = 0.1
DIGITS = 14  # of a gradient; float64 has 16, and sums in another order differ in the last two

BASE = {
    "cell": "lstm",
    "embed_dim": 5,
    "dim": 6,
    "layers": 2,
    "bidirectional": True,
    "residual": False,
    "bridge": "copy",
    "tie": "none",
    "input_feeding": True,
    "dropout": 0.0,
    "attention": {"kind": "global", "score": "general"},
}
CASES = {
    "lstm-general-feeding": {},
    "gru-local-p-concat-residual": {
        "cell": "gru",
        "residual": True,
        "bridge": "dense",
        "attention": {
            "kind": "local-p",
            "score": "concat",
            "window": 2,
            "score_dim": 7,
            "position_dim": 3,
        },
    },
    "lstm-none": {
        "bidirectional": False,
        "layers": 1,
        "bridge": "dense",
        "input_feeding": False,
        "attention": {"kind": "none"},
    },
    "gru-local-m-dot-tied": {
        "cell": "gru",
        "embed_dim": 6,
        "layers": 1,
        "bridge": "zero",
        "tie": "target",
        "attention": {"kind": "local-m", "score": "dot", "window": 1},
    },
}


def shapes(c):
    """Names and shapes of all parameters."""
    dim, embed_dim, attention = c["dim"], c["embed_dim"], c["attention"]
    gates = {"lstm": 4, "gru": 3}[c["cell"]]
    half = dim // 2 if c["bidirectional"] else dim
    out = {
        "encoder.embedding.weight": (SRC_VOCAB, embed_dim),
        "decoder.embedding.weight": (TGT_VOCAB, embed_dim),
        "output.bias": (TGT_VOCAB,),
    }
    if c["tie"] == "none":
        out["output.weight"] = (TGT_VOCAB, dim)
    for layer in range(c["layers"]):
        size = embed_dim if layer == 0 else dim
        parts = [(f"encoder.layers.{layer}.{way}", half) for way in directions(c)]
        for name, hidden in [*parts, (f"decoder.layers.{layer}", dim)]:
            out[f"{name}.input"] = (gates * hidden, size)
            out[f"{name}.hidden"] = (gates * hidden, hidden)
            out[f"{name}.bias"] = (gates * hidden,)
            if c["cell"] == "gru":
                out[f"{name}.hidden_bias"] = (hidden,)
        if c["bridge"] == "dense":
            for state in ["hidden", "cell"][: 2 if c["cell"] == "lstm" else 1]:
                out[f"bridge.{layer}.{state}.weight"] = (dim, dim)
                out[f"bridge.{layer}.{state}.bias"] = (dim,)
    if c["input_feeding"]:
        out["decoder.feed"] = (gates * dim, dim)
    if attention["kind"] != "none":
        out["attention.combine.weight"] = (dim, 2 * dim)
        if attention["score"] == "general":
            out["attention.score.weight"] = (dim, dim)
        elif attention["score"] == "concat":
            out["attention.score.query.weight"] = (attention["score_dim"], dim)
            out["attention.score.key.weight"] = (attention["score_dim"], dim)
            out["attention.score.v"] = (attention["score_dim"],)
    if attention["kind"] == "local-p":
        out["attention.position.weight"] = (attention["position_dim"], dim)
        out["attention.position.v"] = (attention["position_dim"],)
    return out


def directions(c):
    return ["forward", "backward"] if c["bidirectional"] else ["forward"]


def biases(c, p, name):
    """PyTorch's two biases."""
    bias, hidden = p[f"{name}.bias"], torch.zeros_like(p[f"{name}.bias"])
    if c["cell"] == "gru":
        n = len(p[f"{name}.hidden_bias"])
        hidden = torch.cat([hidden[: 2 * n], p[f"{name}.hidden_bias"]])
    return bias, hidden


def encode(c, p, ids):
    """States of a sentence `[len, dim]`, and the last states of each layer, h before c."""
    x = p["encoder.embedding.weight"][ids]
    finals = []
    for layer in range(c["layers"]):
        weights, half = {}, p[f"encoder.layers.{layer}.forward.hidden"].shape[1]
        for way, suffix in zip(directions(c), ["", "_reverse"]):
            name = f"encoder.layers.{layer}.{way}"
            weights[f"weight_ih_l0{suffix}"] = p[f"{name}.input"]
            weights[f"weight_hh_l0{suffix}"] = p[f"{name}.hidden"]
            bias, hidden_bias = biases(c, p, name)
            weights[f"bias_ih_l0{suffix}"] = bias
            weights[f"bias_hh_l0{suffix}"] = hidden_bias
        kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[c["cell"]]
        module = kind(x.shape[1], half, bidirectional=c["bidirectional"])
        states, last = functional_call(module, weights, (x,))
        finals.append([s.reshape(-1) for s in (last if c["cell"] == "lstm" else [last])])
        x = states + x if c["residual"] and layer > 0 else states
    return x, finals


def bridge(c, p, finals):
    """The decoder's first states."""
    if c["bridge"] == "zero":
        return [[torch.zeros(c["dim"]) for _ in states] for states in finals]
    if c["bridge"] == "copy":
        return finals
    return [
        [
            torch.tanh(p[f"bridge.{layer}.{name}.weight"] @ s + p[f"bridge.{layer}.{name}.bias"])
            for name, s in zip(["hidden", "cell"], states)
        ]
        for layer, states in enumerate(finals)
    ]


def cell(c, p, layer, x, state):
    """One step of a decoder layer, by PyTorch's cell: the new states."""
    name = f"decoder.layers.{layer}"
    weight = p[f"{name}.input"]
    if layer == 0 and c["input_feeding"]:
        weight = torch.cat([weight, p["decoder.feed"]], dim=1)
    bias, hidden_bias = biases(c, p, name)
    weights = {"weight_ih": weight, "weight_hh": p[f"{name}.hidden"]}
    weights |= {"bias_ih": bias, "bias_hh": hidden_bias}
    if c["cell"] == "gru":
        module = torch.nn.GRUCell(weight.shape[1], c["dim"])
        return [functional_call(module, weights, (x, state[0]))]
    module = torch.nn.LSTMCell(weight.shape[1], c["dim"])
    return list(functional_call(module, weights, (x, tuple(state))))


def context(config, p, h, states, t):
    """c_t of the decoder state h at target position t, counted from 1."""
    kind, length = config["kind"], len(states)
    positions = torch.arange(1.0, length + 1)
    near = torch.ones(length, dtype=torch.bool)
    if kind == "local-m":
        near = (positions - min(t, length)).abs() <= config["window"]
    if kind == "local-p":
        v, w = p["attention.position.v"], p["attention.position.weight"]
        centre = length * torch.sigmoid(v @ torch.tanh(w @ h))
        near = (positions - centre.item()).abs() <= config["window"]
    seen = states[near]
    if config["score"] == "dot":
        scores = seen @ h
    elif config["score"] == "general":
        scores = seen @ p["attention.score.weight"].T @ h
    else:
        w_a = torch.cat([p["attention.score.query.weight"], p["attention.score.key.weight"]], dim=1)
        both = torch.cat([h.expand(len(seen), -1), seen], dim=1)
        scores = torch.tanh(both @ w_a.T) @ p["attention.score.v"]
    weights = torch.softmax(scores, dim=0)
    if kind == "local-p":
        sigma = config["window"] / 2
        weights = weights * torch.exp(-((positions[near] - centre) ** 2) / (2 * sigma**2))
    return weights @ seen


def losses(c, p, src, tgt):
    """Smoothed and plain loss of a sentence pair, each summed over the target."""
    states, finals = encode(c, p, src + [EOS])
    decoder = bridge(c, p, finals)
    attentional, logits = torch.zeros(c["dim"]), []
    output = p["decoder.embedding.weight" if c["tie"] == "target" else "output.weight"]
    for t, last in enumerate([BOS] + tgt, start=1):
        x = p["decoder.embedding.weight"][last]
        if c["input_feeding"]:
            x = torch.cat([x, attentional])
        for layer in range(c["layers"]):
            decoder[layer] = cell(c, p, layer, x, decoder[layer])
            h = decoder[layer][0]
            x = h + x if c["residual"] and layer > 0 else h
        attentional = x
        if c["attention"]["kind"] != "none":
            c_t = context(c["attention"], p, x, states, t)
            attentional = torch.tanh(p["attention.combine.weight"] @ torch.cat([c_t, x]))
        logits.append(output @ attentional + p["output.bias"])
    logits, wanted = torch.stack(logits), torch.tensor(tgt + [EOS])
    smoothed = F.cross_entropy(logits, wanted, reduction="sum", label_smoothing=SMOOTHING)
    return smoothed, F.cross_entropy(logits, wanted, reduction="sum")


def sentences(lengths, vocab):
    return [torch.randint(EOS + 1, vocab, (length,)).tolist() for length in lengths]


def run(config, pairs):
    """Parameters, losses and gradients of a case."""
    p = {}
    for name, shape in sorted(shapes(config).items()):
        # Few digits, so that they are short in the file and the same for whoever reads them.
        bound = 1.0 if len(shape) == 1 else 1.5 / math.sqrt(shape[1])
        values = torch.round((torch.rand(shape) * 2 - 1) * bound, decimals=3)
        p[name] = values.requires_grad_()
    both = [losses(config, p, src, tgt) for src, tgt in pairs]
    objective = sum(smoothed for smoothed, _ in both)
    objective.backward()
    return {
        "model": config,
        "objective": objective.item(),
        "nats": sum(plain for _, plain in both).item(),
        "parameters": {name: value.detach().reshape(-1).tolist() for name, value in p.items()},
        "gradients": {
            name: [float(f"{g:.{DIGITS - 1}e}") for g in value.grad.reshape(-1).tolist()]
            for name, value in p.items()
        },
    }


pairs = list(zip(sentences(SRC_LENGTHS, SRC_VOCAB), sentences(TGT_LENGTHS, TGT_VOCAB)))
made = {
    "torch": torch.__version__,
    "seed": SEED,
    "vocab": [SRC_VOCAB, TGT_VOCAB],
    "smoothing": SMOOTHING,
    "pairs": pairs,
    "cases": {name: run({**BASE, **change}, pairs) for name, change in CASES.items()},
}
with open("crates/model/tests/data/network.json", "w") as file:
    json.dump(made, file, separators=(",", ":"))
    file.write("\n")

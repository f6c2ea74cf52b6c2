"""Reference vectors for crates/attn. Run from the workspace root; the result is committed.

Every case of the grid, forward and backward, in float64: one sentence and one target position at
a time, on lists of real source positions. Nothing is padded, masked or batched here, and all
positions count from 1 as in the paper (Luong, Pham and Manning, 2015).
"""
import json
import math

import torch
from safetensors.torch import save_file

SEED = 20150917
torch.manual_seed(SEED)
torch.set_default_dtype(torch.float64)

# Distinct primes, so that a swapped axis cannot pass unnoticed. The first sentence is longer than
# the location score knows, the second shorter than the target.
LENGTHS, SRC_LEN, TGT_LEN = [13, 4], 13, 17
DIM, MEMORY_DIM, SCORE_DIM, POSITION_DIM, MAX_SRC_LEN = 7, 5, 3, 19, 11
SIZES = {"max_src_len": MAX_SRC_LEN, "score_dim": SCORE_DIM, "position_dim": POSITION_DIM}


def inputs(memory_dim):
    """States, and what the loss multiplies contexts with."""
    states = torch.randn(len(LENGTHS), SRC_LEN, memory_dim)
    probe = torch.randn(len(LENGTHS), TGT_LEN, memory_dim)
    return {"states": states, "probe": probe}


SHARED = {
    "query": torch.randn(len(LENGTHS), TGT_LEN, DIM),
    "weights_probe": torch.randn(len(LENGTHS), TGT_LEN, SRC_LEN),
    "position.weight": torch.randn(POSITION_DIM, DIM) * 0.5,
    "position.v": torch.randn(POSITION_DIM) * 0.4,
    "score.query.weight": torch.randn(SCORE_DIM, DIM),
    "score.key.weight": torch.randn(SCORE_DIM, MEMORY_DIM),
    "score.v": torch.randn(SCORE_DIM),
    "general.score.weight": torch.randn(DIM, MEMORY_DIM),
    "location.score.weight": torch.randn(MAX_SRC_LEN, DIM),
}
WIDE, NARROW = inputs(DIM), inputs(MEMORY_DIM)  # the dot score needs states as wide as queries


def parameters(config):
    """The parameters of a case, as leaves of its own graph."""
    names = {
        "dot": [],
        "general": ["general.score.weight"],
        "concat": ["score.query.weight", "score.key.weight", "score.v"],
        "location": ["location.score.weight"],
    }[config["score"]]
    if config["kind"] == "local-p":
        names = names + ["position.weight", "position.v"]
    leaves = {name: SHARED[name].clone().requires_grad_() for name in names}
    return {n.removeprefix("general.").removeprefix("location."): p for n, p in leaves.items()}


def score(config, p, h, state, s):
    """How well decoder state h matches the encoder state at position s."""
    kind = config["score"]
    if kind == "dot":
        return torch.dot(h, state)
    if kind == "general":
        return torch.dot(h, torch.mv(p["score.weight"], state))
    if kind == "concat":
        w_a = torch.cat([p["score.query.weight"], p["score.key.weight"]], dim=1)
        return torch.dot(p["score.v"], torch.tanh(torch.mv(w_a, torch.cat([h, state]))))
    return torch.mv(p["score.weight"], h)[s - 1]


def attend_one(config, p, h, states, t):
    """Context and weights of the decoder state h at target position t."""
    length = len(states)
    if config["score"] == "location":
        length = min(length, MAX_SRC_LEN)
    positions = list(range(1, length + 1))
    reach = config["window"]
    centre = None
    if config["kind"] == "local-m":
        positions = [s for s in positions if abs(s - min(t, length)) <= reach]
    elif config["kind"] == "local-p":
        hidden = torch.tanh(torch.mv(p["position.weight"], h))
        centre = length * torch.sigmoid(torch.dot(p["position.v"], hidden))
        middle = centre.item()
        if config["edge"] == "rounded":
            middle = math.floor(middle + 0.5)
        positions = [s for s in positions if abs(s - middle) <= reach]
    scores = torch.stack([score(config, p, h, states[s - 1], s) for s in positions])
    weights = torch.exp(scores) / torch.exp(scores).sum()
    if centre is not None:
        sigma = config.get("sigma", reach / 2)
        distances = torch.tensor([float(s) for s in positions]) - centre
        weights = weights * torch.exp(-(distances**2) / (2 * sigma**2))
        if config["renormalize"]:
            weights = weights / weights.sum()
    context = sum(w * states[s - 1] for w, s in zip(weights, positions))
    row = torch.zeros(SRC_LEN).index_put((torch.tensor(positions) - 1,), weights)
    return context, row


def run(config):
    """Outputs of a case, and the gradients of all that went in."""
    source = WIDE if config["score"] == "dot" else NARROW
    query = SHARED["query"].clone().requires_grad_()
    states = source["states"].clone().requires_grad_()
    p = parameters(config)
    contexts, rows = [], []
    for b, length in enumerate(LENGTHS):
        for t in range(1, TGT_LEN + 1):
            context, row = attend_one(config, p, query[b, t - 1], states[b, :length], t)
            contexts.append(context)
            rows.append(row)
    context = torch.stack(contexts).view(len(LENGTHS), TGT_LEN, -1)
    weights = torch.stack(rows).view(len(LENGTHS), TGT_LEN, SRC_LEN)
    loss = (context * source["probe"]).sum() + (weights * SHARED["weights_probe"]).sum()
    loss.backward()
    out = {"context": context.detach(), "weights": weights.detach()}
    leaves = {"query": query, "states": states, **p}
    return out | {"grad." + name: leaf.grad for name, leaf in leaves.items()}


def cases():
    """Names and configurations: the grid, then the choices that the paper leaves open."""
    base = {"window": 2, "renormalize": False, "edge": "exact", **SIZES}
    for kind in ["global", "local-m", "local-p"]:
        for name in ["dot", "general", "concat", "location"]:
            yield f"{kind}.{name}", {**base, "kind": kind, "score": name}
    local = {**base, "kind": "local-p", "score": "general"}
    yield "renormalized", {**local, "renormalize": True}
    yield "rounded", {**local, "edge": "rounded"}
    yield "both", {**local, "renormalize": True, "edge": "rounded", "score": "concat"}
    yield "sigma", {**local, "sigma": 0.7, "window": 3}
    yield "narrowest", {**local, "window": 1}
    yield "wider-than-the-source", {**local, "window": 23}


tensors = {"input." + name: tensor for name, tensor in SHARED.items()}
for name, source in [("wide", WIDE), ("narrow", NARROW)]:
    tensors |= {f"input.{name}.{key}": tensor for key, tensor in source.items()}
for name, config in cases():
    tensors |= {f"{name}/{key}": tensor.contiguous() for key, tensor in run(config).items()}
made = {"torch": torch.__version__, "seed": SEED, "cases": dict(cases())}
# One entry, as the order of several is not fixed.
metadata = {"reference": json.dumps(made)}
save_file(tensors, "crates/attn/tests/data/luong.safetensors", metadata=metadata)

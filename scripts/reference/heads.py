"""Reference vectors for multi-head attention and rotary positions in crates/attn. Run from the
workspace root; the result is committed.

Forward and backward in float64 with PyTorch's own attention, one sentence at a time: nothing is
padded here. Rotary positions are products of complex numbers (Su et al., 2021, eq. 12).
"""
import json

import torch
from safetensors.torch import save_file
from torch.nn.functional import scaled_dot_product_attention

SEED = 20170612
torch.manual_seed(SEED)
torch.set_default_dtype(torch.float64)

# Distinct primes, so that a swapped axis cannot pass unnoticed. A head is one whole vector register
# wide, a half and some single columns.
HEADS, HEAD_DIM = 2, 29
LENGTHS, SRC_LENGTHS = [7, 13, 1], [11, 5, 3]
ROTARY_HEADS, ROTARY_DIM, ROTARY_POSITIONS = 3, 22, [0, 1, 2, 17, 5, 1, 1009]

CASES = {
    "self": {"past": False, "window": None, "cross": False},
    "causal": {"past": True, "window": None, "cross": False},
    "window": {"past": False, "window": 2, "cross": False},
    "causal-window": {"past": True, "window": 3, "cross": False},
    "cross": {"past": False, "window": None, "cross": True},
    "cross-window": {"past": False, "window": 8, "cross": True},
}


def offsets(lengths):
    """Where each sentence starts, and where the last one ends."""
    return [sum(lengths[:b]) for b in range(len(lengths) + 1)]


def heads(rows):
    """[len, heads * head_dim] as [heads, len, head_dim]."""
    return rows.view(len(rows), HEADS, HEAD_DIM).transpose(0, 1)


def run(case):
    """Outputs, weights and gradients of all sentences, packed."""
    src_lengths = SRC_LENGTHS if case["cross"] else LENGTHS
    query = QUERY.clone().requires_grad_()
    key = KEY[: sum(src_lengths)].clone().requires_grad_()
    value = VALUE[: sum(src_lengths)].clone().requires_grad_()
    outs, weights = [], []
    tgt, src = offsets(LENGTHS), offsets(src_lengths)
    for b in range(len(LENGTHS)):
        q, k = heads(query[tgt[b] : tgt[b + 1]]), heads(key[src[b] : src[b + 1]])
        v = heads(value[src[b] : src[b + 1]])
        distance = torch.arange(LENGTHS[b])[:, None] - torch.arange(src_lengths[b])[None]
        seen = torch.ones_like(distance, dtype=torch.bool)
        if case["past"]:
            seen &= distance >= 0
        if case["window"] is not None:
            seen &= distance.abs() <= case["window"]
        assert seen.any(-1).all(), "a row that sees nothing has no reference"
        out = scaled_dot_product_attention(q, k, v, attn_mask=seen)
        outs.append(out.transpose(0, 1).reshape(LENGTHS[b], -1))
        # Attention to the columns of the identity gives the weights themselves.
        identity = torch.eye(src_lengths[b]).expand(HEADS, -1, -1)
        weights.append(scaled_dot_product_attention(q, k, identity, attn_mask=seen).detach().flatten())
    out = torch.cat(outs)
    (out * PROBE).sum().backward()
    grads = {"query": query.grad, "key": key.grad, "value": value.grad}
    result = {"out": out.detach(), "weights": torch.cat(weights)}
    return result | {"grad." + name: grad for name, grad in grads.items()}


def rotate(rows):
    """Pairs of columns i and i + head_dim / 2 as complex numbers, turned by their position."""
    halves = rows.view(len(ROTARY_POSITIONS), ROTARY_HEADS, 2, ROTARY_DIM // 2)
    numbers = torch.complex(halves[:, :, 0].contiguous(), halves[:, :, 1].contiguous())
    theta = 10000.0 ** (-2 * torch.arange(ROTARY_DIM // 2) / ROTARY_DIM)
    angle = torch.tensor(ROTARY_POSITIONS)[:, None] * theta[None]
    turned = numbers * torch.polar(torch.ones_like(angle), angle)[:, None]
    return torch.stack([turned.real, turned.imag], dim=2).view(rows.shape)


n_rows, n_keys = sum(LENGTHS), max(sum(LENGTHS), sum(SRC_LENGTHS))
QUERY = torch.randn(n_rows, HEADS * HEAD_DIM)
KEY, VALUE = torch.randn(n_keys, HEADS * HEAD_DIM), torch.randn(n_keys, HEADS * HEAD_DIM)
PROBE = torch.randn(n_rows, HEADS * HEAD_DIM)
rotary = torch.randn(len(ROTARY_POSITIONS), ROTARY_HEADS * ROTARY_DIM)

tensors = {"query": QUERY, "key": KEY, "value": VALUE, "probe": PROBE}
tensors |= {"rotary.rows": rotary, "rotary.rotated": rotate(rotary)}
for name, case in CASES.items():
    tensors |= {f"{name}/{key}": tensor.contiguous() for key, tensor in run(case).items()}
made = {
    "torch": torch.__version__,
    "seed": SEED,
    "lengths": LENGTHS,
    "src_lengths": SRC_LENGTHS,
    "positions": ROTARY_POSITIONS,
    "cases": CASES,
}
# One entry, as the order of several is not fixed.
metadata = {"reference": json.dumps(made)}
save_file(tensors, "crates/attn/tests/data/heads.safetensors", metadata=metadata)

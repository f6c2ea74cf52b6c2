"""Reference vectors for crates/train: five steps of each optimizer, by PyTorch in float64.

Run from the workspace root; the result is committed.
"""

import torch
from safetensors.torch import save_file

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)

STEPS = 5
SHAPES = {"weight": (7, 5), "bias": (3,)}
LR = 0.03
# The settings of each case, as in crates/train/tests/optimizer.rs.
CASES = {
    "adam": (torch.optim.Adam, dict(betas=(0.8, 0.95), eps=1e-6), 0.0),
    "adam_decay": (torch.optim.Adam, dict(betas=(0.9, 0.98), eps=1e-8), 0.2),
    "adamw": (torch.optim.AdamW, dict(betas=(0.9, 0.999), eps=1e-8), 0.3),
    "sgd": (torch.optim.SGD, dict(), 0.0),
    "momentum": (torch.optim.SGD, dict(momentum=0.7), 0.1),
}

start = {name: torch.randn(shape) for name, shape in SHAPES.items()}
grads = {name: torch.randn(STEPS, *shape) for name, shape in SHAPES.items()}
out = {f"start.{name}": value for name, value in start.items()}
out |= {f"grad.{name}": value for name, value in grads.items()}
for case, (rule, settings, decay) in CASES.items():
    params = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    # Decay is for matrices; a vector is a bias or belongs to a norm.
    groups = [
        {"params": [params["weight"]], "weight_decay": decay},
        {"params": [params["bias"]], "weight_decay": 0.0},
    ]
    optimizer = rule(groups, lr=LR, **settings)
    for step in range(STEPS):
        for name, param in params.items():
            param.grad = grads[name][step].clone()
        optimizer.step()
        for name, param in params.items():
            out[f"{case}.{step}.{name}"] = param.detach().clone()

save_file(
    out,
    "crates/train/tests/data/optimizer.safetensors",
    metadata={"torch": torch.__version__, "seed": "1"},
)

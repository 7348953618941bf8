"""Measure what torch.compile makes of our blocks, as training uses them: without type checks.

Run as a program by test_compiled.py; it writes one JSON object.
"""

import json

import torch

from lmcore.model.dropout import drop
from lmcore.model.mlp import activate
from lmcore.training.loss import linear_cross_entropy


def dropped_twice(x):
    return drop(x, 0.5), drop(x, 0.5)


def head_loss(compiled, kind):
    """Return the loss of a small head and the sums that tell its gradients apart."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 6, generator=generator, requires_grad=True) for n in (12, 9))
    targets = torch.randint(9, (12,), generator=generator)
    targets[3] = -100
    loss = linear_cross_entropy(x, weight, targets, rows=8, compiled=compiled, kind=kind)
    return [loss.tolist(), *(g.tolist() for g in torch.autograd.grad(loss, (x, weight)))]


def gelu(function):
    """Return GPT-2's GELU over a range and its gradient, in bfloat16."""
    x = torch.linspace(-4, 4, 401, dtype=torch.bfloat16, requires_grad=True)
    y = function(x, "gelu_tanh")
    return [y.tolist(), torch.autograd.grad(y.sum(), x)[0].tolist()]


torch.set_num_threads(1)
torch.manual_seed(0)
x = torch.ones(1_000, requires_grad=True)
first, second = torch.compile(dropped_twice)(x)
(gradient,) = torch.autograd.grad((first + second).sum(), x)
print(
    json.dumps(
        {
            "first": first.tolist(),
            "second": second.tolist(),
            "gradient": gradient.tolist(),
            "plain loss": head_loss(False, "softmax") + head_loss(False, "stablemax"),
            "compiled loss": head_loss(True, "softmax") + head_loss(True, "stablemax"),
            "plain gelu": gelu(activate),
            "compiled gelu": gelu(torch.compile(activate)),
        }
    )
)

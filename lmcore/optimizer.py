"""Plain stochastic gradient descent and the clipping of its gradient."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class SGD(torch.optim.Optimizer):
    """Steps against the gradient: p ← p - lr · (grad + weight_decay · p)."""

    def __init__(
        self, params: Iterable[nn.Parameter] | Iterable[dict], lr: float, weight_decay: float = 0.0
    ):
        if lr < 0 or weight_decay < 0:
            raise ValueError(f"lr {lr} and weight_decay {weight_decay} may not be negative")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Take one step with the gradients as they stand."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(p.grad, alpha=-group["lr"])


@torch.no_grad()
def clip_gradient(params: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale the gradients in place to a global L2 norm of at most max_norm; return the norm before.

    Parameters without a gradient do not count. As in torch, 1e-6 is added to the norm, and the
    norm of no gradients is zero.
    """
    gradients = [p.grad for p in params if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)
    return norm

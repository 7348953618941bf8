"""Stochastic gradient descent with decoupled weight decay."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lmcore.boundary import checked
from lmcore.training.gradients import check_numbers, loss_of


class SGD(torch.optim.Optimizer):
    """Steps along the velocity: v ← momentum · v + grad, p ← p - lr · (v + weight_decay · p).

    Without momentum v is the gradient and there is no state. Torch adds the decay to v; here it is
    decoupled, as in SGDW (Loshchilov & Hutter 2019, 1711.05101).

    Raises:
        ValueError: a number is out of its range.
    """

    @checked
    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        check_numbers(self.param_groups)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor | float] | None = None) -> Tensor | float | None:
        """Take one step along the present gradients; return the closure's loss, if one is given."""
        loss = loss_of(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(self._velocity(p, group["momentum"]), alpha=-group["lr"])
        return loss

    def _velocity(self, p: nn.Parameter, momentum: float) -> Tensor:
        assert p.grad is not None, "only parameters with a gradient are stepped"
        if momentum == 0:
            return p.grad
        state = self.state[p]
        if not state:
            state["velocity"] = torch.zeros_like(p)
        return state["velocity"].mul_(momentum).add_(p.grad)

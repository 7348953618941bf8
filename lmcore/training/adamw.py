"""Adam with decoupled weight decay, by torch's fused kernel."""

from collections.abc import Iterable

import torch
from torch import nn

from lmcore.boundary import checked
from lmcore.training.gradients import check_numbers, evaluate_closure, parameters_of


class AdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, 1711.05101, algorithm 2).

    At step t, counted from 1 for each parameter p with gradient g, and with (β₁, β₂) = betas:

        p ← p - lr · weight_decay · p
        m ← β₁ m + (1 - β₁) g
        v ← β₂ v + (1 - β₂) g²
        p ← p - lr · m̂ / (√v̂ + eps)    where m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ)

    In the paper only the schedule scales the decay; here, as in torch, lr does. Torch's fused
    kernel does all of it in one pass over memory.

    Raises:
        ValueError: a number is out of its range, a parameter is not contiguous, or, at a step, a
            gradient is sparse.
    """

    @checked
    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, fused=True)
        check_numbers(self.param_groups)
        for p in parameters_of(self):
            if not p.is_contiguous():
                raise ValueError(
                    f"a parameter of shape {tuple(p.shape)} is not contiguous in memory, "
                    "and AdamW's kernel would mix up its numbers: store it .contiguous()"
                )
        self.register_step_pre_hook(evaluate_closure)
        self.register_step_pre_hook(_lay_out_gradients)


def _lay_out_gradients(optimizer: AdamW, args: tuple, kwargs: dict) -> None:
    for p in parameters_of(optimizer):
        gradient = p.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            raise ValueError(
                f"the gradient of a parameter of shape {tuple(p.shape)} is sparse, and AdamW needs "
                "dense ones: use nn.Embedding(sparse=False)"
            )
        # The kernel assumes the parameter's strides: with others it silently mixes up numbers.
        if gradient.stride() != p.stride():
            p.grad = torch.empty_like(p).copy_(gradient)

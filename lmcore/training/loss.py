"""The head and its cross-entropy in one, a few rows of logits at a time; StableMax."""

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmcore.model.accounting import logit_rows

LossKind = Literal["softmax", "softmax-float64", "stablemax"]

GPU_ALIGNMENT = 64
"""Products on a GPU are much slower where the vocabulary is not a multiple of this."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Both gradients are made in the forward pass, a few rows of logits at a time."""

    @staticmethod
    def forward(ctx, x, weight, targets, rows, compiled, kind):
        n, vocab = len(targets), len(weight)
        missing = -vocab % (GPU_ALIGNMENT if x.is_cuda else 1)
        cast = weight.to(x.dtype)
        cast = F.pad(cast, (0, 0, 0, missing)) if missing else cast
        rows = rows or logit_rows(n, len(cast), cast.element_size(), cast.is_cuda)
        step = _step(x, compiled, kind)
        loss = torch.zeros((), device=x.device)
        d_x, d_weight = torch.empty_like(x), torch.zeros_like(cast, dtype=weight.dtype)
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            nats, slope = step(x[part] @ cast.T, targets[part], n, vocab, kind)
            loss += nats
            torch.mm(slope, cast, out=d_x[part])
            d_weight += slope.T @ x[part]
        ctx.save_for_backward(d_x, d_weight[:vocab])
        return loss

    @staticmethod
    def backward(ctx, d_loss):
        d_x, d_weight = ctx.saved_tensors
        return d_x * d_loss, d_weight * d_loss, None, None, None, None


def _step(x: Tensor, compiled: bool, kind: LossKind) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the fastest there is of the functions that do what `_slope` does."""
    if x.is_cuda and kind == "softmax" and find_spec("triton"):
        from lmcore.training.triton_loss import (
            slope_in_place,  # Triton comes with torch for a GPU alone
        )

        def in_place(logits, targets, n, vocab, kind):
            return slope_in_place(logits, targets, n, vocab).sum() / n, logits

        return in_place
    return _compiled_slope() if compiled else _slope


def stablemax_logits(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
    """Return the logits whose softmax is the StableMax of these (Prieto et al. 2025, 2501.04697).

    StableMax puts s(x) = x + 1 from 0 up and 1 / (1 - x) below in the place of exp(x), and the
    logarithm of s(x) is sign(x) log(1 + |x|).
    """
    return logits.sign() * logits.abs().log1p()


def _slope(
    logits: Tensor, targets: Tensor, n: int, vocab: int, kind: LossKind
) -> tuple[Tensor, Tensor]:
    """Return these rows' share of the mean loss, and its gradient by the logits.

    Columns beyond the vocabulary have no share in it, and no gradient.
    """
    given = logits.double() if kind == "softmax-float64" else logits.float()
    wide = stablemax_logits(given) if kind == "stablemax" else given
    column = torch.arange(logits.shape[-1], device=logits.device)
    if len(column) > vocab:
        wide = wide.masked_fill(column >= vocab, -torch.inf)
    highest = wide.amax(-1, keepdim=True)
    powers = (wide - highest).exp()  # taken once, for the loss and for its gradient
    total = powers.sum(-1, keepdim=True)
    nats = (total.log() + highest - wide.gather(-1, targets[:, None])).sum() / n
    hit = column == targets[:, None]
    slope = (powers / total - hit.to(powers.dtype)) / n
    if kind == "stablemax":
        slope = slope / (1 + given.abs())
    return nats, slope.to(logits.dtype)


@functools.cache
def _compiled_slope():
    return torch.compile(_slope, dynamic=False)


def linear_cross_entropy(
    x: Float[Tensor, "rows d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "rows"],
    rows: int | None = None,
    compiled: bool = False,
    kind: LossKind = "softmax",
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy in nats of the logits x weightᵀ, which are never all held.

    The softmax, or in its place StableMax, is taken in float32, the products in x's dtype; memory
    follows rows, which the device decides where they are not given. In float64 a softmax still has
    a gradient where float32 rounds the answer's probability to 1 (Prieto et al. 2025, 2501.04697,
    section 3).
    """
    return _LinearCrossEntropy.apply(x, weight, targets, rows, compiled, kind)

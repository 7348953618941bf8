"""The head and its cross-entropy in one, a few rows of logits at a time."""

import functools

import torch
from jaxtyping import Float, Int
from torch import Tensor


class _LinearCrossEntropy(torch.autograd.Function):
    """Both gradients are made in the forward pass, a few rows of logits at a time."""

    @staticmethod
    def forward(ctx, x, weight, targets, rows, compiled):
        n = len(targets)
        cast = weight.to(x.dtype)
        step = _compiled_slope() if compiled else _slope
        loss = torch.zeros((), device=x.device)
        d_x, d_weight = torch.empty_like(x), torch.zeros_like(weight)
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            nats, slope = step(x[part] @ cast.T, targets[part], n)
            loss += nats
            torch.mm(slope, cast, out=d_x[part])
            d_weight += slope.T @ x[part]
        ctx.save_for_backward(d_x, d_weight)
        return loss

    @staticmethod
    def backward(ctx, d_loss):
        d_x, d_weight = ctx.saved_tensors
        return d_x * d_loss, d_weight * d_loss, None, None, None


def _slope(logits: Tensor, targets: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return these rows' share of the mean loss, and its gradient by the logits."""
    logits32 = logits.float()
    log_z = logits32.logsumexp(-1, keepdim=True)
    nats = (log_z - logits32.gather(-1, targets[:, None])).sum() / n
    hit = torch.arange(logits.shape[-1], device=logits.device) == targets[:, None]
    return nats, (((logits32 - log_z).exp() - hit.float()) / n).to(logits.dtype)


@functools.cache
def _compiled_slope():
    return torch.compile(_slope, dynamic=False)


def linear_cross_entropy(
    x: Float[Tensor, "rows d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "rows"],
    rows: int = 1024,
    compiled: bool = False,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy in nats of the logits x weightᵀ, which are never all held.

    The softmax is taken in float32, the products in x's dtype; memory follows rows.
    """
    return _LinearCrossEntropy.apply(x, weight, targets, rows, compiled)

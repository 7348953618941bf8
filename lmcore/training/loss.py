"""Cross-entropy, and the same fused with the head, which holds a few rows of logits at a time."""

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmcore.evaluation.logits import IGNORE_INDEX
from lmcore.model.accounting import logit_rows

LossKind = Literal["softmax", "softmax-float64", "stablemax"]

GPU_ALIGNMENT = 64
"""Matrix products on a GPU are much slower where the vocabulary is not a multiple of this."""


def cross_entropy(
    logits: Float[Tensor, "rows vocab"], targets: Int[Tensor, "rows"], kind: LossKind = "softmax"
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy in nats, over the targets that are not -100.

    Computed in float32 at least. Without any target it is 0, where torch's is not a number.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    logits = logits.double() if kind == "softmax-float64" else logits.to(dtype)
    logits = stablemax_logits(logits) if kind == "stablemax" else logits
    total = F.cross_entropy(logits, targets, ignore_index=IGNORE_INDEX, reduction="sum")
    return (total / n_targets(targets)).to(dtype)


def n_targets(targets: Int[Tensor, "*shape"]) -> Int[Tensor, ""]:
    """Return the number of targets that are not ignored, or 1 if there is none."""
    return (targets != IGNORE_INDEX).sum().clamp(min=1)


def stablemax_logits(logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
    """Return the logits whose softmax is the StableMax of these (Prieto et al. 2025, 2501.04697).

    StableMax replaces exp(x) by s(x) = x + 1 for x ≥ 0 and 1 / (1 - x) below. The logarithm of
    s(x) is sign(x) log(1 + |x|).
    """
    return logits.sign() * logits.abs().log1p()


def linear_cross_entropy(
    x: Float[Tensor, "rows d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "rows"],
    rows: int | None = None,
    compiled: bool = False,
    kind: LossKind = "softmax",
) -> Float[Tensor, ""]:
    """Return the `cross_entropy` of the logits x weightᵀ without ever holding all of them.

    The products are taken in x's dtype, the rest in float32. Memory grows with rows, the number of
    rows held at a time; where it is None the device decides. In float64 a softmax has a gradient
    even where float32 rounds the answer's probability to 1 (Prieto et al. 2025, 2501.04697,
    section 3).
    """
    return _LinearCrossEntropy.apply(x, weight, targets, rows, compiled, kind)


class _LinearCrossEntropy(torch.autograd.Function):
    """The forward pass computes both gradients, a few rows of logits at a time."""

    @staticmethod
    def forward(ctx, x, weight, targets, rows, compiled, kind):
        n, vocab = len(targets), len(weight)
        missing = -vocab % (GPU_ALIGNMENT if x.is_cuda else 1)
        cast = weight.to(x.dtype)
        cast = F.pad(cast, (0, 0, 0, missing)) if missing else cast
        rows = rows or logit_rows(n, len(cast), cast.element_size(), cast.is_cuda)
        rows_loss = _rows_loss(x, compiled, kind)
        # Asking a GPU would hold it up; there the rows are always masked, at no cost.
        has_ignored = x.is_cuda or bool((targets == IGNORE_INDEX).any())
        loss = torch.zeros((), device=x.device)
        d_x, d_weight = torch.empty_like(x), torch.zeros_like(cast, dtype=weight.dtype)
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            nats, d_logits = rows_loss(x[part] @ cast.T, targets[part], n, vocab, kind, has_ignored)
            loss += nats
            torch.mm(d_logits, cast, out=d_x[part])
            d_weight += d_logits.T @ x[part]
        # Each row counted as 1/n so far. Where targets are ignored, the others count for more.
        ctx.scale = n / n_targets(targets) if has_ignored else 1.0
        ctx.save_for_backward(d_x, d_weight[:vocab])
        return loss * ctx.scale

    @staticmethod
    def backward(ctx, d_loss):
        d_x, d_weight = ctx.saved_tensors
        d_loss = d_loss * ctx.scale
        return d_x * d_loss, d_weight * d_loss, None, None, None, None


def _rows_loss(x: Tensor, compiled: bool, kind: LossKind) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the fastest available implementation of `_plain_rows_loss`."""
    if x.is_cuda and kind == "softmax" and find_spec("triton"):
        from lmcore.training.triton_loss import loss_in_place  # torch for a GPU brings Triton

        def in_place(logits, targets, n, vocab, kind, has_ignored):
            return loss_in_place(logits, targets, n, vocab).sum() / n, logits

        return in_place
    return _compiled_rows_loss() if compiled else _plain_rows_loss


def _plain_rows_loss(
    logits: Tensor, targets: Tensor, n: int, vocab: int, kind: LossKind, has_ignored: bool
) -> tuple[Tensor, Tensor]:
    """Return the sum of these rows' losses over n, and its gradient by the logits.

    Columns beyond the vocabulary and rows with an ignored target contribute nothing.
    """
    given = logits.double() if kind == "softmax-float64" else logits.float()
    wide = stablemax_logits(given) if kind == "stablemax" else given
    column = torch.arange(logits.shape[-1], device=logits.device)
    if len(column) > vocab:
        wide = wide.masked_fill(column >= vocab, -torch.inf)
    target = targets[:, None]
    highest = wide.amax(-1, keepdim=True)
    powers = (wide - highest).exp()  # taken once, for the loss and for its gradient
    total = powers.sum(-1, keepdim=True)
    if has_ignored:
        is_ignored = target == IGNORE_INDEX
        nats = total.log() + highest - wide.gather(-1, target.masked_fill(is_ignored, 0))
        nats = nats.masked_fill(is_ignored, 0)
        total = total.masked_fill(is_ignored, torch.inf)  # makes the gradient of the row zero
    else:
        nats = total.log() + highest - wide.gather(-1, target)
    is_target = column == target
    d_logits = (powers / total - is_target.to(powers.dtype)) / n
    if kind == "stablemax":
        d_logits = d_logits / (1 + given.abs())
    return nats.sum() / n, d_logits.to(logits.dtype)


@functools.cache
def _compiled_rows_loss():
    return torch.compile(_plain_rows_loss, dynamic=False)

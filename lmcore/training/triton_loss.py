"""Softmax cross-entropy and its gradient as one kernel for GPUs, in Triton (Tillet et al. 2019).

Each row of logits is read twice, the second time from the cache, and overwritten by its gradient.
So it crosses the memory bus only twice, which is the minimum.
"""

from typing import no_type_check

import torch
import triton  # pyright: ignore[reportMissingImports] - comes with torch for GPUs
import triton.language as tl  # pyright: ignore[reportMissingImports]
from jaxtyping import Float, Int
from torch import Tensor

BLOCK, WARPS = 8192, 16
IGNORE_INDEX = tl.constexpr(-100)


@triton.jit
@no_type_check
def _row_loss(
    logits, targets, nats, stride, share,
    vocab: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    target = tl.load(targets + row)
    is_scored = target != IGNORE_INDEX
    of_target = tl.load(logits + target, mask=is_scored, other=0.0).to(tl.float32)
    lanes = tl.arange(0, block)
    highest, total = float("-inf"), 0.0
    for start in range(0, width, block):
        column = start + lanes
        x = tl.load(logits + column, mask=column < width, other=0.0).to(tl.float32)
        x = tl.where(column < vocab, x, float("-inf"))
        higher = tl.maximum(highest, tl.max(x, axis=0))
        total = total * tl.exp(highest - higher) + tl.sum(tl.exp(x - higher), axis=0)
        highest = higher
    tl.store(nats + row, tl.where(is_scored, tl.log(total) + highest - of_target, 0.0))
    share = tl.where(is_scored, share, 0.0)
    for start in range(0, width, block):
        column = start + lanes
        x = tl.load(logits + column, mask=column < width, other=0.0).to(tl.float32)
        x = tl.where(column < vocab, x, float("-inf"))
        d_x = (tl.exp(x - highest) / total - tl.where(column == target, 1.0, 0.0)) * share
        tl.store(logits + column, d_x.to(logits.dtype.element_ty), mask=column < width)


def loss_in_place(
    logits: Float[Tensor, "rows width"], targets: Int[Tensor, "rows"], n: int, vocab: int
) -> Float[Tensor, "rows"]:
    """Return each row's cross-entropy in nats over the first vocab columns, in float32.

    The logits are overwritten by the gradient of the sum of all rows over n. It is zero in columns
    beyond the vocabulary and in rows with an ignored target, whose cross-entropy is 0.
    """
    nats = torch.empty(len(logits), device=logits.device)
    with torch.cuda.device(logits.device):
        _row_loss[(len(logits),)](  # pyright: ignore[reportIndexIssue] - a kernel's grid
            logits, targets, nats, logits.stride(0), 1 / n,
            vocab, logits.shape[1], BLOCK, num_warps=WARPS,
        )  # fmt: skip
    return nats

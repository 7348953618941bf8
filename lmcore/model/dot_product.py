"""Scaled dot-product attention, for any leading dimensions."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lmcore.model.dropout import drop
from lmcore.model.masks import causal_mask
from lmcore.model.norm import at_least_float32


def attend(
    q: Float[Tensor, "*batch q_len d_head"],
    k: Float[Tensor, "*batch k_len d_head"],
    v: Float[Tensor, "*batch k_len d_value"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
) -> Float[Tensor, "*batch q_len d_value"]:
    """Return softmax(q kᵀ / sqrt(d_head)) v over the keys for which mask is True.

    The mask broadcasts over leading dimensions, and each query must attend to at least one key.
    causal adds `causal_mask`. The softmax is computed in float32, or in float64 for float64.
    """
    if not needs_plain_code(q.device):
        return fused_attend(q, k, v, mask, causal, dropout)
    if causal:
        mask = with_causal(mask, q.shape[-2], k.shape[-2], q.device)
    scores = at_least_float32((q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1))
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = drop(scores.softmax(-1).to(v.dtype), dropout)
    return weights @ v


def needs_plain_code(device: torch.device) -> bool:
    """Return whether attention is written out in place of torch's fused kernel.

    That is so for training on a CPU: there the fused kernel has no dropout and a slow backward
    pass, and compiled plain code is faster at the studies' context lengths.
    """
    return device.type == "cpu" and torch.is_grad_enabled()


def with_causal(
    mask: Bool[Tensor, "..."] | None, q_len: int, k_len: int, device: torch.device
) -> Bool[Tensor, "..."] | None:
    """Return mask and `causal_mask` together; a single query attends to all keys by the latter."""
    if q_len == 1:
        return mask
    causal = causal_mask(q_len, k_len, device)
    return causal if mask is None else mask & causal


def fused_attend(
    q: Float[Tensor, "*batch q_len d_head"],
    k: Float[Tensor, "*batch k_len d_head"],
    v: Float[Tensor, "*batch k_len d_value"],
    mask: Bool[Tensor, "..."] | None,
    causal: bool,
    dropout: float,
) -> Float[Tensor, "*batch q_len d_value"]:
    """Return what `attend` returns, from torch's fused kernel."""
    q_len, k_len = q.shape[-2], k.shape[-2]
    # Torch aligns its own causal mask to the first key, which is right for equal lengths only.
    is_causal = causal and mask is None and q_len == k_len > 1
    if causal and not is_causal:
        mask = with_causal(mask, q_len, k_len, q.device)
    return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=is_causal)

"""Causal self-attention with rotary positions, grouped keys and values, and masks."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmcore.model.cache import Cache, Rotation
from lmcore.model.config import ModelConfig
from lmcore.model.dropout import drop
from lmcore.model.flex import BlockMask, attend_in_blocks
from lmcore.model.layers import RMSNorm
from lmcore.model.rope import rotate


def causal_mask(q_len: int, k_len: int, device: torch.device) -> Bool[Tensor, "q_len k_len"]:
    """Return which keys each query may see; the last query sees every key."""
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


FEW_KEYS = 8
"""Up to so many keys, one query's products are faster as sums: as matrices they are too small."""


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

    The mask broadcasts over leading dimensions, and each query must be let see some key; causal
    is `causal_mask`. Where gradients are wanted on a CPU it is written out: there the fused kernel
    has no dropout and a slow backward pass, and compiled this is the faster one at the studies'
    context lengths. The softmax is taken in float32.
    """
    q_len, k_len = q.shape[-2], k.shape[-2]
    dtype, q = q.dtype, q.to(k.dtype)  # those of a cache may differ
    is_fused = q.device.type != "cpu" or not torch.is_grad_enabled()
    if causal and not (is_fused and q_len == k_len):
        mask, causal = causal_mask(q_len, k_len, q.device), False
    if is_fused:
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal)
        return y.to(dtype)
    q = q * (1 / math.sqrt(q.shape[-1]))
    is_small = q_len == 1 and k_len <= FEW_KEYS
    scores = ((q * k).sum(-1)[..., None, :] if is_small else q @ k.transpose(-2, -1)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = drop(scores.softmax(-1).to(v.dtype), dropout)
    return ((weights[..., 0, :, None] * v).sum(-2, keepdim=True) if is_small else weights @ v).to(
        dtype
    )


@dataclass(frozen=True)
class View:
    """What tokens may see and from where, the same for all layers; without a mask, the past."""

    mask: Bool[Tensor, "..."] | BlockMask | None = None
    rotation: Rotation | None = None
    cache: Cache | None = None
    places: Int[Tensor, "batch seq"] | None = None


PAST = View()


@dataclass(frozen=True)
class Rows:
    """Features many of which are equal: each distinct one, and which of them stands where."""

    distinct: Float[Tensor, "rows f"]
    places: Int[Tensor, "batch seq"]


def newest(x: Tensor | Rows, last: int | None) -> Float[Tensor, "batch last f"]:
    """Return the last positions of x, or all of them where their number is not given."""
    at = slice(None if last is None else -last, None)
    return F.embedding(x.places[:, at], x.distinct) if isinstance(x, Rows) else x[:, at]


class Attention(nn.Module):
    """Multi-head self-attention; head h uses rows h·d_head … of each of q, k and v.

    The three weights lie in one, in this order. With fewer heads of keys and values, each serves
    as many neighbouring query heads (Ainslie et al. 2023, 2305.13245). qk_norm is an RMSNorm of
    each head's queries and keys before they are turned (Dehghani et al. 2023, 2302.05442, there a
    LayerNorm).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.heads = (config.n_heads, config.n_kv, config.n_kv)
        self.d_head, self.dropout = config.d_head, config.dropout
        self.qkv = nn.Linear(config.d_model, sum(self.heads) * self.d_head, bias=config.bias)
        self.out = nn.Linear(config.n_heads * self.d_head, config.d_model, bias=config.bias)
        self.q_norm = RMSNorm(self.d_head, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(self.d_head, config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"] | Rows,
        view: View = PAST,
        layer: int = 0,
        last: int | None = None,
    ) -> Float[Tensor, "batch last d_model"]:
        dropout = self.dropout if self.training else 0.0
        q, k, v = self.turned(x, view, last)
        if view.cache:
            k, v = view.cache.extend(layer, torch.cat((k, v), dim=1), view.places)
        shape, n_kv = q.shape, k.shape[1]
        if isinstance(view.mask, BlockMask):
            y = attend_in_blocks(q, k, v, view.mask)
            return drop(self.out(y.transpose(1, 2).flatten(2)), dropout)
        if q.shape[2] == 1:  # heads that share keys are laid out as queries: no key is copied
            q = q.reshape(len(q), n_kv, -1, self.d_head)
        elif n_kv < q.shape[1]:
            k, v = (each.repeat_interleave(q.shape[1] // n_kv, 1) for each in (k, v))
        causal, mask = view.mask is None and shape[2] > 1, view.mask
        if mask is not None and last is not None:
            mask = mask[..., -last:, :]
        y = attend(q, k, v, mask, causal=causal, dropout=dropout).reshape(shape)
        return drop(self.out(y.transpose(1, 2).flatten(2)), dropout)

    def turned(
        self, x: Tensor | Rows, view: View = PAST, last: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries and keys as they are compared, normed and turned, and the values."""
        q, k, v = self.projected(x, last)
        q, k = self.q_norm(q), self.k_norm(k)
        if view.rotation:
            cos, sin = view.rotation
            at = slice(k.shape[2] - q.shape[2], None)
            q, k = rotate(q, cos[..., at, :], sin[..., at, :]), rotate(k, cos, sin)
        return q, k, v

    def projected(self, x: Tensor | Rows, last: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the heads' keys and values at every position, and the last queries or all."""

        def heads(y: Tensor, n: int) -> Tensor:
            return y.unflatten(-1, (n, self.d_head)).transpose(1, 2)

        if last is None and not isinstance(x, Rows):
            return heads(self.qkv(x), sum(self.heads)).split(self.heads, dim=1)
        sizes = (self.heads[0] * self.d_head, 2 * self.heads[1] * self.d_head)
        if isinstance(x, Rows):
            q, both = (Rows(y, x.places) for y in self.qkv(x.distinct).split(sizes, dim=-1))
            q, both = newest(q, last), newest(both, None)
        else:
            weights = self.qkv.weight.split(sizes)
            biases = (None, None) if self.qkv.bias is None else self.qkv.bias.split(sizes)
            q = F.linear(newest(x, last), weights[0], biases[0])
            both = F.linear(x, weights[1], biases[1])
        return heads(q, self.heads[0]), *heads(both, 2 * self.heads[1]).split(self.heads[1:], dim=1)


def starts(documents: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """Return for each position where the run of equal numbers that it stands in began."""
    index = torch.arange(documents.shape[1], device=documents.device)
    is_first = F.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)
    return torch.where(is_first, index, 0).cummax(1).values


def document_mask(documents: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch 1 seq seq"]:
    """Return which keys each query sees: those up to its own of the same document."""
    seq, device = documents.shape[1], documents.device
    same = documents[:, :, None] == documents[:, None, :]
    return (same & causal_mask(seq, seq, device))[:, None]

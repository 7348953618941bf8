"""Causal multi-head self-attention with rotary positions and grouped key/value heads."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmcore.boundary import Size, checked
from lmcore.model.dot_product import attend
from lmcore.model.dropout import drop
from lmcore.model.flex import BlockMask, attend_in_blocks
from lmcore.model.heads import head_sizes, share_heads
from lmcore.model.kv_cache import LayerCache
from lmcore.model.norm import RMSNorm
from lmcore.model.rope import RoPE, RopeTable, rotate


class Attention(nn.Module):
    """Multi-head self-attention; head h uses rows h·d_head … (h+1)·d_head of q, k and v.

    `qkv` holds the rows of the three weights, in this order. Without n_kv_heads each query head
    has its own key/value head; with fewer, adjacent query heads share one (Ainslie et al. 2023,
    2305.13245). rope turns queries and keys. qk_norm is an RMSNorm of each head's queries and keys
    before they are turned (Dehghani et al. 2023, 2302.05442, who use a LayerNorm). Without d_head
    the heads split d_model.

    Example:
        attention = Attention(64, 4, rope=RoPE(base=10_000.0)); y = attention(x)

    Raises:
        ValueError: the heads do not fit d_model or each other, or RoPE's pairs do not fit a head.
    """

    @checked
    def __init__(
        self,
        d_model: Size,
        n_heads: Size,
        n_kv_heads: Size | None = None,
        *,
        d_head: Size | None = None,
        rope: RoPE | None = None,
        qk_norm: bool = False,
        norm_eps: float = 1e-5,
        bias: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.n_heads = n_heads
        self.n_kv_heads, self.d_head = head_sizes(d_model, n_heads, n_kv_heads, d_head)
        if rope is not None and self.d_head % 2:
            raise ValueError(f"RoPE turns pairs of features: d_head {self.d_head} is odd")
        self.rope, self.dropout = rope, dropout
        self.qkv = nn.Linear(d_model, sum(self.qkv_heads) * self.d_head, bias=bias)
        self.out = nn.Linear(n_heads * self.d_head, d_model, bias=bias)
        self.q_norm = RMSNorm(self.d_head, norm_eps) if qk_norm else nn.Identity()
        self.k_norm = RMSNorm(self.d_head, norm_eps) if qk_norm else nn.Identity()

    @property
    def qkv_heads(self) -> tuple[int, int, int]:
        """Heads of queries, keys and values, in the order in which `qkv` makes them."""
        return self.n_heads, self.n_kv_heads, self.n_kv_heads

    def forward(
        self,
        x: Float[Tensor, "*batch seq d_model"],
        mask: Bool[Tensor, "..."] | BlockMask | None = None,
        positions: Int[Tensor, "*#batch seq"] | None = None,
        rope_table: RopeTable | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Return what the heads read from x.

        Without a mask each position attends to itself and the past. Without positions they count
        from 0; where many layers share them, rope's table at them is computed once and given
        instead. With a cache, x follows the tokens whose keys and values the cache holds.
        """
        dropout = self.dropout if self.training else 0.0
        q, k, v = self.project(x, positions, rope_table)
        if isinstance(mask, BlockMask):
            y = attend_in_blocks(q, k, v, mask)
        elif cache is not None:
            y = cache.attend(q, k, v, mask, dropout)
        else:
            group = self.n_heads // self.n_kv_heads
            k, v = share_heads(k, group), share_heads(v, group)
            y = attend(q, k, v, mask, causal=mask is None, dropout=dropout)
        return drop(self.out(y.transpose(-3, -2).flatten(-2)), dropout)

    def project(
        self,
        x: Float[Tensor, "*batch seq d_model"],
        positions: Int[Tensor, "*#batch seq"] | None = None,
        rope_table: RopeTable | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values by heads, the first two normalised and turned."""
        heads = self.split_heads(self.qkv(x))
        q, k, v = heads.split(self.qkv_heads, dim=-3)
        q, k = self.q_norm(q), self.k_norm(k)
        if self.rope is not None:
            if rope_table is None:
                if positions is None:
                    positions = torch.arange(x.shape[-2], device=x.device)
                rope_table = self.rope.table(positions, self.d_head)
            q, k = rotate(q, *rope_table), rotate(k, *rope_table)
        return q, k, v

    def split_heads(
        self, y: Float[Tensor, "*batch seq rows"]
    ) -> Float[Tensor, "*batch heads seq d_head"]:
        """Return the features of each head."""
        return y.unflatten(-1, (-1, self.d_head)).transpose(-3, -2)

"""One layer of a decoder."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmcore.boundary import Size, checked
from lmcore.model.attention import Attention
from lmcore.model.flex import BlockMask
from lmcore.model.kv_cache import LayerCache
from lmcore.model.mlp import MLP, Activation
from lmcore.model.norm import NormAt, NormKind, build_norm
from lmcore.model.rope import RoPE, RopeTable


class LayerScale(nn.Module):
    """Each feature times a learned number that starts small (Touvron et al. 2021, 2103.17239)."""

    @checked
    def __init__(self, features: Size, start: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((features,), start))

    def forward(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        return x * self.weight


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + mlp(norm(x)).

    norm_at "post" takes norm(x + attention(x)) instead (Vaswani et al. 2017, 1706.03762).
    parallel_residual adds attention and MLP of one norm: x + attention(norm(x)) + mlp(norm(x))
    (Wang & Komatsuzaki 2021, GPT-J). layer_scale is where the `LayerScale` of each of the two
    starts. The other options are those of `Attention`, `MLP` and `build_norm`. Weights are drawn as
    torch draws them; `GPT` draws its own.

    Example:
        block = Block(64, 4, activation="swiglu", norm="rms", bias=False, rope=RoPE())

    Raises:
        ValueError: sizes do not fit each other, or an option is unknown.
    """

    @checked
    def __init__(
        self,
        d_model: Size,
        n_heads: Size,
        d_ff: Size | None = None,
        n_kv_heads: Size | None = None,
        *,
        d_head: Size | None = None,
        activation: Activation = "gelu",
        rope: RoPE | None = None,
        norm: NormKind = "layer",
        norm_at: NormAt = "pre",
        norm_eps: float = 1e-5,
        qk_norm: bool = False,
        parallel_residual: bool = False,
        layer_scale: float | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        if parallel_residual and norm_at == "post":
            raise ValueError("parallel_residual needs norm_at 'pre', not 'post'")
        self.norm_at, self.parallel_residual = norm_at, parallel_residual
        self.attention_norm = build_norm(norm, d_model, norm_eps, bias)
        self.attention = Attention(
            d_model, n_heads, n_kv_heads, d_head=d_head, rope=rope, qk_norm=qk_norm,
            norm_eps=norm_eps, bias=bias, dropout=dropout,
        )  # fmt: skip
        self.mlp_norm = build_norm("none" if parallel_residual else norm, d_model, norm_eps, bias)
        self.mlp = MLP(d_model, d_ff, activation, bias, dropout)
        has_scale = layer_scale is not None
        self.attention_scale = LayerScale(d_model, layer_scale) if has_scale else nn.Identity()
        self.mlp_scale = LayerScale(d_model, layer_scale) if has_scale else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "*batch seq d_model"],
        mask: Bool[Tensor, "..."] | BlockMask | None = None,
        positions: Int[Tensor, "*#batch seq"] | None = None,
        rope_table: RopeTable | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "*batch seq d_model"]:
        """Return x with what attention and MLP add; see `Attention.forward` for the rest."""
        if self.norm_at == "post":
            x = x + self.attention_scale(self.attention(x, mask, positions, rope_table, cache))
            x = self.attention_norm(x)
            return self.mlp_norm(x + self.mlp_scale(self.mlp(x)))
        normed = self.attention_norm(x)
        x = x + self.attention_scale(self.attention(normed, mask, positions, rope_table, cache))
        if not self.parallel_residual:
            normed = self.mlp_norm(x)
        return x + self.mlp_scale(self.mlp(normed))

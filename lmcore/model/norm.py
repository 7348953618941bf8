"""RMSNorm, and the choice between norms."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmcore.boundary import Size, checked

NormKind = Literal["layer", "rms", "none"]
NormAt = Literal["pre", "post"]


def rms_norm(
    x: Float[Tensor, "*batch features"], weight: Float[Tensor, "features"], eps: float = 1e-5
) -> Float[Tensor, "*batch features"]:
    """Return x / sqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019, 1910.07467).

    It is computed in float32, or in x's dtype if that is wider, and returned in x's dtype.
    """
    wide = at_least_float32(x)
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return (wide * scale * weight).to(x.dtype)


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return x in float32, or as it is if it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


class RMSNorm(nn.Module):
    """`rms_norm` over the last dimension, with a learned weight that starts at 1."""

    @checked
    def __init__(self, features: Size, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        return rms_norm(x, self.weight, self.eps)


@checked
def build_norm(kind: NormKind, features: int, eps: float = 1e-5, bias: bool = True) -> nn.Module:
    """Return a new norm of this kind; bias is LayerNorm's alone, and "none" is the identity."""
    if kind == "layer":
        return nn.LayerNorm(features, eps=eps, bias=bias)
    return RMSNorm(features, eps) if kind == "rms" else nn.Identity()

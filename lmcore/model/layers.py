"""Norms, activations, the MLP and LayerScale."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmcore.model.config import Activation, ModelConfig
from lmcore.model.dropout import drop


def rms_norm(
    x: Float[Tensor, "*batch features"], weight: Float[Tensor, "features"], eps: float
) -> Float[Tensor, "*batch features"]:
    """Return x / sqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019, 1910.07467).

    It is computed in float32 and returned in x's dtype.
    """
    x32 = x.float()
    scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)
    return (x32 * scale * weight).to(x.dtype)


def activate(x: Float[Tensor, "*batch up"], activation: Activation) -> Float[Tensor, "*batch d_ff"]:
    """Return the MLP's hidden features; of swiglu's input the first half gates the second.

    GELU is exact (Hendrycks & Gimpel 2016, 1606.08415) or GPT-2's approximation by tanh, ReLU²
    is from So et al. 2021 (2109.08668), SwiGLU from Shazeer 2020 (2002.05202).
    """
    if activation == "swiglu":
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value
    if activation in ("relu", "relu2"):
        return F.relu(x) if activation == "relu" else F.relu(x).square()
    if activation == "silu":
        return F.silu(x)
    if activation == "gelu_tanh" and x.dtype == torch.bfloat16 and torch.compiler.is_compiling():
        return gelu_by_sigmoid(x)
    return F.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


def gelu_by_sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return GPT-2's GELU without tanh, which takes generated code for a CPU three times as long.

    1 + tanh(y) is 2 sigmoid(2 y). It is computed in float32, where the gradient is off by up to
    2e-6 far out: less than bfloat16 shows.
    """
    x32 = x.float()
    doubled = 2 * math.sqrt(2 / math.pi) * (x32 + 0.044715 * x32**3)
    return (x32 * doubled.sigmoid()).to(x.dtype)


class RMSNorm(nn.Module):
    """`rms_norm` with its weight."""

    def __init__(self, features: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        return rms_norm(x, self.weight, self.eps)


class MLP(nn.Module):
    """Two linear maps around an activation; under SwiGLU the first makes gate and value at once."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation, self.dropout = config.activation, config.dropout
        self.up = nn.Linear(config.d_model, config.d_up, bias=config.bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        y = self.down(activate(self.up(x), self.activation))
        return drop(y, self.dropout if self.training else 0.0)


class LayerScale(nn.Module):
    """Each feature times a learned number, small at first (Touvron et al. 2021, 2103.17239)."""

    def __init__(self, features: int, start: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((features,), start))

    def forward(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        return x * self.weight


def norm_of(config: ModelConfig) -> nn.Module:
    """Return a new norm over d_model of config's kind."""
    if config.norm == "layer":
        return nn.LayerNorm(config.d_model, eps=config.norm_eps, bias=config.bias)
    return RMSNorm(config.d_model, config.norm_eps) if config.norm == "rms" else nn.Identity()

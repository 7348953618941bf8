"""The MLP of a block, and its activations."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmcore.boundary import Size, checked
from lmcore.model.dropout import drop

Activation = Literal["gelu", "gelu_tanh", "silu", "relu", "relu2", "swiglu"]


def swiglu_hidden_size(d_model: int) -> int:
    """Return the d_ff at which SwiGLU has about the parameters of a plain MLP of 4 d_model.

    It is 8/3 d_model, to the nearest multiple of 64 (Shazeer 2020, 2002.05202).
    """
    return max(64, round(d_model * 8 / 3 / 64) * 64)


def default_hidden_size(d_model: int, activation: Activation) -> int:
    """Return `swiglu_hidden_size` for SwiGLU and 4 d_model for all other activations."""
    return swiglu_hidden_size(d_model) if activation == "swiglu" else 4 * d_model


def activate(x: Float[Tensor, "*batch up"], activation: Activation) -> Float[Tensor, "*batch d_ff"]:
    """Return the MLP's hidden features; for SwiGLU the first half of x gates the second.

    GELU is exact (Hendrycks & Gimpel 2016, 1606.08415), gelu_tanh is GPT-2's approximation, ReLU²
    is from So et al. 2021 (2109.08668) and SwiGLU from Shazeer 2020 (2002.05202).
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
    """Return GPT-2's GELU without tanh, which is three times as slow in compiled code on a CPU.

    1 + tanh(y) is 2 sigmoid(2 y). It is computed in float32. Far from zero its gradient is off by
    up to 2e-6, which is less than bfloat16 can show.
    """
    x32 = x.float()
    doubled = 2 * math.sqrt(2 / math.pi) * (x32 + 0.044715 * x32**3)
    return (x32 * doubled.sigmoid()).to(x.dtype)


class MLP(nn.Module):
    """Two linear maps with an activation between them.

    For SwiGLU, W2( SiLU(W1 x) ⊙ W3 x ), `up` holds the rows of W1 and then those of W3.
    """

    @checked
    def __init__(
        self,
        d_model: Size,
        d_ff: Size | None = None,
        activation: Activation = "gelu",
        bias: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        d_ff = d_ff or default_hidden_size(d_model, activation)
        self.activation: Activation = activation
        self.dropout = dropout
        self.up = nn.Linear(d_model, 2 * d_ff if activation == "swiglu" else d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        y = self.down(activate(self.up(x), self.activation))
        return drop(y, self.dropout if self.training else 0.0)

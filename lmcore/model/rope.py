"""Rotary position embedding (RoPE, Su et al. 2021, 2104.09864): functions without weights.

Feature pairs are adjacent: (x0, x1), (x2, x3), … Llama's checkpoints pair feature k of the first
half with feature k of the second half, so their weights are reordered on import and export.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from lmcore.boundary import convert_fields, shown

RopeTable = tuple[Tensor, Tensor]
"""Cosine and sine of the angle of each feature pair at each position."""


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama 3.1's scaling of RoPE frequencies for a context longer than the original one.

    Waves that turn more than high_freq_factor times in original_context_length keep their
    frequency. Waves that turn fewer than low_freq_factor times become factor times slower. In
    between, the frequency is interpolated.
    """

    factor: float
    """How many times slower the slow waves become."""

    low_freq_factor: float
    """Turns within the original context below which a wave is slowed by the whole factor."""

    high_freq_factor: float
    """Turns within the original context above which a wave keeps its frequency."""

    original_context_length: int
    """Tokens of context that the model was first trained with."""

    def __post_init__(self):
        convert_fields(self)
        if self.factor <= 0 or self.original_context_length < 1:
            raise ValueError(
                f"factor {self.factor} must be above 0, and original_context_length "
                f"{self.original_context_length} at least 1"
            )
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor {self.low_freq_factor} must be above 0 and below "
                f"high_freq_factor {self.high_freq_factor}"
            )

    def apply(self, frequencies: Float[Tensor, "half"]) -> Float[Tensor, "half"]:
        """Return the scaled frequencies, in radians per position."""
        turns = self.original_context_length / (2 * math.pi / frequencies)
        unscaled = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        unscaled = unscaled.clamp(0, 1)
        return (1 - unscaled) * frequencies / self.factor + unscaled * frequencies


@dataclass(frozen=True)
class RoPE:
    """The frequencies of a rotary position embedding, for attention heads of any size."""

    base: float = 10_000.0
    """Pair k turns by base^(-2k / d_head) radians per position."""

    scaling: RopeScaling | None = None
    """Scaling for a longer context than the original one; None: no scaling."""

    def __post_init__(self):
        convert_fields(self)
        if self.base <= 0:
            raise ValueError(f"RoPE's base must be above 0, not {self.base}")

    def table(self, positions: Shaped[Tensor, "*batch seq"], d_head: int) -> RopeTable:
        """Return `rope_table` with an axis for the heads where positions have batch dimensions."""
        cos, sin = rope_table(positions, d_head, self.base, self.scaling)
        return (cos, sin) if positions.ndim == 1 else (cos.unsqueeze(-3), sin.unsqueeze(-3))


def rope_table(
    positions: Shaped[Tensor, "*batch seq"],
    d_head: int,
    base: float = 10_000.0,
    scaling: RopeScaling | None = None,
) -> tuple[Float[Tensor, "*batch seq half"], Float[Tensor, "*batch seq half"]]:
    """Return cosine and sine, in float32, of the angle of each feature pair at each position.

    The angle of pair k is position · base^(-2k / d_head). Frequencies are rounded as in Llama's
    code, because one unit in the last place changes the angles at far positions visibly.

    Raises:
        ValueError: d_head is odd, or base is not above 0.
    """
    if not isinstance(positions, Tensor):
        raise ValueError(f"positions must be a tensor, not {shown(positions)}")
    if d_head % 2 or base <= 0:
        raise ValueError(
            f"RoPE needs an even d_head and a base above 0, not d_head {d_head}, base {base}"
        )
    exponents = torch.arange(0, d_head, 2, device=positions.device, dtype=torch.float32) / d_head
    frequencies = 1.0 / base**exponents
    if scaling:
        frequencies = scaling.apply(frequencies)
    angles = positions[..., None].float() * frequencies
    return angles.cos(), angles.sin()


def rotate(
    x: Float[Tensor, "*batch seq d_head"],
    cos: Float[Tensor, "*#batch seq half"],
    sin: Float[Tensor, "*#batch seq half"],
) -> Float[Tensor, "*batch seq d_head"]:
    """Turn each feature pair of x by its position's angle; norms stay the same.

    Products are computed in float32, or in x's dtype if that is wider, and returned in x's dtype.
    """
    even, odd = x[..., ::2], x[..., 1::2]
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).to(x.dtype)


def half_split_to_adjacent(
    weight: Shaped[Tensor, "rows ..."], d_head: int
) -> Shaped[Tensor, "rows ..."]:
    """Return the rows of a query or key weight, stored for half-split pairs, in our order."""
    heads = weight.unflatten(0, (-1, 2, d_head // 2))
    return heads.transpose(1, 2).flatten(0, 2)


def adjacent_to_half_split(
    weight: Shaped[Tensor, "rows ..."], d_head: int
) -> Shaped[Tensor, "rows ..."]:
    """Return the rows of a query or key weight in the order that half-split RoPE expects."""
    heads = weight.unflatten(0, (-1, d_head // 2, 2))
    return heads.transpose(1, 2).flatten(0, 2)

"""Rotary position embedding (Su et al. 2021, 2104.09864): functions of numbers, nothing learned.

Feature pairs are neighbours, (x0, x1), (x2, x3) …; Llama's weights pair each feature of the first
half with one of the second, so they are reordered on the way in and out.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama 3.1's scaling of RoPE frequencies for a context longer than the original one.

    Waves that turn more than high_freq_factor times in original_context_length keep their
    frequency, those that turn fewer than low_freq_factor times become factor times slower, and in
    between the frequency is interpolated.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context_length: int

    def __post_init__(self):
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor {self.low_freq_factor} must be below "
                f"high_freq_factor {self.high_freq_factor}"
            )

    def apply(self, frequencies: Float[Tensor, "half"]) -> Float[Tensor, "half"]:
        """Return frequencies, in radians per position, with the slow ones slowed further."""
        turns = self.original_context_length / (2 * math.pi / frequencies)
        kept = (
            (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        ).clamp(0, 1)
        return (1 - kept) * frequencies / self.factor + kept * frequencies


def rope_table(
    positions: Shaped[Tensor, "*batch seq"],
    d_head: int,
    base: float,
    stretch: RopeScaling | None = None,
) -> tuple[Float[Tensor, "*batch seq half"], Float[Tensor, "*batch seq half"]]:
    """Return cosine and sine, in float32, of the angle of each feature pair at each position.

    The angle of pair k is position · base^(-2k / d_head). Frequencies are rounded as in Llama's
    code, where a unit in the last place moves angles at far positions visibly.

    Raises:
        ValueError: d_head is odd, or base is not above 0.
    """
    if d_head % 2 or base <= 0:
        raise ValueError(f"RoPE turns pairs by powers of a base: not d_head {d_head}, base {base}")
    exponents = torch.arange(0, d_head, 2, device=positions.device, dtype=torch.float32) / d_head
    frequencies = 1.0 / base**exponents
    if stretch:
        frequencies = stretch.apply(frequencies)
    angles = positions[..., None].float() * frequencies
    return angles.cos(), angles.sin()


def rotate(
    x: Float[Tensor, "*batch seq d_head"],
    cos: Float[Tensor, "*#batch seq half"],
    sin: Float[Tensor, "*#batch seq half"],
) -> Float[Tensor, "*batch seq d_head"]:
    """Turn each feature pair of x by its position's angle, keeping its norm.

    The products are taken in the table's float32 and returned in x's dtype.
    """
    even, odd = x[..., ::2], x[..., 1::2]
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return turned.flatten(-2).to(x.dtype)


def neighbours_from_halves(
    weight: Shaped[Tensor, "rows ..."], d_head: int
) -> Shaped[Tensor, "rows ..."]:
    """Return the rows of a query or key weight, stored for RoPE over halves, in our order."""
    heads = weight.unflatten(0, (-1, 2, d_head // 2))
    return heads.transpose(1, 2).flatten(0, 2)


def halves_from_neighbours(
    weight: Shaped[Tensor, "rows ..."], d_head: int
) -> Shaped[Tensor, "rows ..."]:
    """Return the rows of a query or key weight in the order that RoPE over halves takes."""
    heads = weight.unflatten(0, (-1, d_head // 2, 2))
    return heads.transpose(1, 2).flatten(0, 2)

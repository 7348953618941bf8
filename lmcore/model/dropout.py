"""Dropout (Srivastava et al. 2014) whose random bits are cheap on a CPU."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@torch.library.custom_op(
    "lmcore::dropout_mask", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,)
)
def dropout_mask(x: Tensor, dropout: float, fresh: Tensor) -> Tensor:
    """Return a mask of x's shape, False with probability dropout (to 1 part in 65,536).

    On a CPU one 64-bit random number serves four elements, which is seven times as fast as torch's
    own dropout. The compiler merges calls that have equal arguments; fresh, a new empty tensor,
    keeps them apart.
    """
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    threshold = round(dropout * 2**16) - 2**15
    return (bits.view(torch.int16)[: x.numel()] >= threshold).view(x.shape)


@dropout_mask.register_fake
def _(x: Tensor, dropout: float, fresh: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=torch.bool, device=x.device)


def drop(x: Float[Tensor, "*shape"], dropout: float) -> Float[Tensor, "*shape"]:
    """Return x with elements set to zero with probability dropout and all others scaled up."""
    if dropout == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, dropout)
    return x * dropout_mask(x, dropout, torch.empty(0)) * (1 / (1 - dropout))

"""Blocks that are torch's own, under the names that a course on language models asks for."""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Embedding, Linear
from torch.nn.functional import silu, softmax

__all__ = ["Embedding", "Linear", "cross_entropy", "silu", "softmax"]


def cross_entropy(
    logits: Float[Tensor, "*batch vocab"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Return torch's mean cross-entropy in nats; targets of -100 do not count.

    Training computes its own without holding all logits; see `lmcore.training.loss`.
    """
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))

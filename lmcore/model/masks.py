"""Which keys each query attends to: True means attend."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor


def causal_mask(
    q_len: int, k_len: int, device: torch.device | None = None
) -> Bool[Tensor, "q_len k_len"]:
    """Return the mask under which the last query attends to all keys, the one before to all but
    the last, and so on.
    """
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


def document_mask(documents: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch 1 seq seq"]:
    """Return the causal mask within documents, from the number of each token's document."""
    seq, device = documents.shape[1], documents.device
    same = documents[:, :, None] == documents[:, None, :]
    return (same & causal_mask(seq, seq, device))[:, None]


def document_starts(documents: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """Return for each position where its run of equal document numbers begins."""
    index = torch.arange(documents.shape[1], device=documents.device)
    is_first = F.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)
    return torch.where(is_first, index, 0).cummax(1).values

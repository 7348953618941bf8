"""What a model thinks of a text: next-token and sequence probabilities."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmcore.data.batches import scoring_windows
from lmcore.evaluation.scores import token_nats
from lmcore.generation.generate import evaluating, require_some
from lmcore.model.gpt import GPT


@torch.no_grad()
def next_probabilities(model: GPT, ids: list[int]) -> Float[Tensor, "vocab"]:
    """Return the probabilities of the token after ids, of which the last context's worth count."""
    require_some(model, ids)
    window = ids[-model.config.context_length :]
    with evaluating(model):
        logits = model(torch.tensor([window], device=model.head_weight.device))[0, -1]
    return logits.float().softmax(-1).cpu()


@torch.no_grad()
def likeliest(
    model: GPT, ids: Sequence[int], k: int, rows: int = 1024
) -> tuple[Int[Tensor, "seq k"], Float[Tensor, "seq k"]]:
    """Return the k likeliest tokens after each of ids, best first, and their probabilities.

    Texts beyond the context are read in windows that do not overlap. At most rows rows of logits
    are held.
    """
    require_some(model, ids)
    if not 1 <= k <= model.config.vocab_size:
        raise ValueError(f"k {k} is not from 1 to the vocabulary of {model.config.vocab_size}")
    text, found = torch.tensor(ids, device=model.head_weight.device), []
    with evaluating(model):
        for window in text.split(model.config.context_length):
            for part in model.hidden(window[None])[0].split(rows):
                found.append(F.linear(part, model.head_weight).float().softmax(-1).topk(k))
    tokens, probabilities = torch.cat([f.indices for f in found]), [f.values for f in found]
    return tokens.cpu(), torch.cat(probabilities).cpu()


def log_probabilities(
    model: GPT, ids: Sequence[int], start_id: int | None = None
) -> Float[Tensor, "scored"]:
    """Return ln p of each of ids after those before it: all but the first, or with start_id all.

    The first is scored as if it followed start_id. Texts beyond the context are read in windows
    that do not overlap, like the house metric.
    """
    text = [*ids] if start_id is None else [start_id, *ids]
    require_some(model, text)
    if len(text) == 1:
        return torch.empty(0, dtype=torch.float64)
    windows = scoring_windows(np.array(text[1:]), model.config.context_length, 16, text[0])
    return -token_nats(model, windows)[0]

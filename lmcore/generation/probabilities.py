"""Probabilities that a model gives to next tokens and to the tokens of a text."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmcore.boundary import Size, checked
from lmcore.data.batches import scoring_windows
from lmcore.evaluation.scores import token_nats
from lmcore.generation.generate import evaluating, require_prompt
from lmcore.model.gpt import GPT


@checked
@torch.no_grad()
def next_probabilities(model: GPT, ids: list[int]) -> Float[Tensor, "vocab"]:
    """Return the probabilities of the token after ids, cut to the newest context length of them."""
    require_prompt(model, ids)
    window = ids[-model.config.context_length :]
    with evaluating(model):
        logits = model(torch.tensor([window], device=model.head_weight.device))[0, -1]
    return logits.float().softmax(-1).cpu()


@checked
@torch.no_grad()
def top_next_tokens(
    model: GPT, ids: Sequence[int], k: int, rows: Size = 1024
) -> tuple[Int[Tensor, "seq k"], Float[Tensor, "seq k"]]:
    """Return the k most probable tokens after each of ids, best first, and their probabilities.

    Texts beyond the context are read in windows that do not overlap. rows bounds the logits that
    are in memory at a time.
    """
    require_prompt(model, ids)
    if not 1 <= k <= model.config.vocab_size:
        raise ValueError(f"k {k} is not from 1 to the vocabulary of {model.config.vocab_size}")
    text, tops = torch.tensor(ids, device=model.head_weight.device), []
    with evaluating(model):
        for window in text.split(model.config.context_length):
            for features in model.hidden(window[None])[0].split(rows):
                logits = F.linear(features, model.head_weight).float()
                tops.append(logits.softmax(-1).topk(k))
    tokens, probabilities = torch.cat([top.indices for top in tops]), [top.values for top in tops]
    return tokens.cpu(), torch.cat(probabilities).cpu()


@checked
def log_probabilities(
    model: GPT, ids: Sequence[int], start_id: int | None = None
) -> Float[Tensor, "scored"]:
    """Return ln p of each of ids after those before it, except the first.

    With start_id, the first is scored too, as if it followed start_id. Texts beyond the context are
    read in windows that do not overlap, as in the house metric.
    """
    text = [*ids] if start_id is None else [start_id, *ids]
    require_prompt(model, text)
    if len(text) == 1:
        return torch.empty(0, dtype=torch.float64)
    windows = scoring_windows(np.array(text[1:]), model.config.context_length, 16, text[0])
    return -token_nats(model, windows)[0]

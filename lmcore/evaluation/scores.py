"""Scores of a model on fixed tokens, each of them scored exactly once.

A model is any module that maps ids to logits.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmcore.boundary import Natural, Size, checked
from lmcore.data.batches import documents_at, scoring_windows
from lmcore.data.token_files import Tokens
from lmcore.evaluation.logits import (
    IGNORE_INDEX,
    device_of,
    in_float64,
    logit_parts,
    logits_of,
)
from lmcore.evaluation.score_types import Answers, Score


@checked
@torch.no_grad()
def answer_score(
    model: nn.Module, x: Int[Tensor, "n seq"], y: Int[Tensor, "n targets"], rows: Size = 2048
) -> Answers:
    """Return the score of the answers y at the last positions of x.

    Targets of -100 are not scored. For logit_rms each row's mean is subtracted first.

    Raises:
        ValueError: x and y are no rows of ids, or of different numbers.
    """
    is_rows = x.ndim == y.ndim == 2 and len(x) == len(y) > 0
    if not is_rows or x.is_floating_point() or y.is_floating_point():
        raise ValueError(
            f"questions of shape {tuple(x.shape)} and answers of shape {tuple(y.shape)} are no "
            "rows of ids: give whole numbers as (rows, ids)"
        )
    was_training = model.training
    model.eval()
    device = device_of(model)
    nats, squares, n_correct = 0.0, 0.0, 0
    for questions, answers in zip(x.split(rows), y.split(rows), strict=True):
        logits = in_float64(logits_of(model, questions.to(device), last=answers.shape[1]))
        targets = answers.flatten().to(logits.device)
        nats += F.cross_entropy(logits, targets, reduction="sum").item()
        n_correct += int((logits.argmax(-1) == targets).sum())
        squares += logits.var(-1, correction=0)[targets != IGNORE_INDEX].sum().item()
    model.train(was_training)
    n = int((y != IGNORE_INDEX).sum())
    size = round(math.sqrt(squares / n), 4)
    return Answers(nats=round(nats, 4), n=n, n_correct=n_correct, logit_rms=size)


Window = Sequence[Tensor]
"""(x, y), and for attention within documents also the number of each token's document."""


def token_nats(
    model: nn.Module, windows: Iterable[Window], rows: int = 1024
) -> tuple[Float[Tensor, "tokens"], Int[Tensor, "tokens"]]:
    """Return each target's cross-entropy in nats and the model's most probable id in its place.

    The model is in evaluation mode meanwhile. Of a GPT at most rows rows of logits are held.
    """
    was_training = model.training
    model.eval()
    device = device_of(model)
    windows = list(windows)
    targets = torch.cat([y.flatten() for _, y, *_ in windows]).to(device)
    # Filled in place: results kept from between the large blocks would split the allocator's heap.
    nats = torch.empty(len(targets), device=device)
    best = torch.empty_like(targets)
    done = 0
    with torch.no_grad():
        for x, _, *documents in windows:
            numbers = documents[0].to(device) if documents else None
            for part in logit_parts(model, x.to(device), numbers, rows):
                here = slice(done, done + len(part))
                logits = part.float()
                nats[here] = F.cross_entropy(logits, targets[here], reduction="none")
                best[here] = logits.argmax(-1)
                done += len(part)
    model.train(was_training)
    return nats.cpu().double(), best.cpu()


def windows_within(
    windows: Iterable[Window], tokens: Tokens, places: Int[np.ndarray, "*shape"]
) -> list[Window]:
    """Return windows with the documents of their targets, which are at places in tokens."""
    windows = list(windows)
    sizes = [y.numel() for _, y in windows]
    documents = documents_at(tokens, places).flatten().split(sizes)
    return [(x, y, part.view_as(y)) for (x, y), part in zip(windows, documents, strict=True)]


def context_length_of(model: nn.Module, context_length: int | None) -> int:
    """Return context_length, or where it is None the one in model's config.

    Raises:
        ValueError: neither is there.
    """
    if context_length is None:
        context_length = getattr(getattr(model, "config", None), "context_length", None)
    if context_length is None:
        raise ValueError(
            f"{type(model).__name__} has no config with a context_length: give context_length"
        )
    return context_length


@checked
def token_scores(
    model: nn.Module,
    tokens: Tokens,
    eos_id: Natural,
    within_documents: bool = False,
    context_length: Size | None = None,
) -> tuple[Float[Tensor, "tokens"], Int[Tensor, "tokens"]]:
    """Return for each of tokens what `token_nats` does; the first one follows an <eos>.

    Raises:
        ValueError: there is no token to score, or no context_length.
    """
    if not len(tokens.ids):
        raise ValueError("there are no tokens to score")
    context_length = context_length_of(model, context_length)
    windows = scoring_windows(tokens.ids, context_length, 64, eos_id)
    if within_documents:
        windows = windows_within(windows, tokens, np.arange(len(tokens.ids)))
    return token_nats(model, windows)


@checked
def score(
    model: nn.Module,
    tokens: Tokens,
    eos_id: Natural,
    within_documents: bool = False,
    context_length: Size | None = None,
) -> Score:
    """Return the score of every token once, the first one as if it followed an <eos>.

    Tokens are read in windows of context_length, by default that of model.config.

    Raises:
        ValueError: there is no token to score, or no context_length.
    """
    nats, best = token_scores(model, tokens, eos_id, within_documents, context_length)
    return _summed(nats, best, tokens.ids, tokens, eos_id)


@checked
def challenge_score(
    model: nn.Module,
    tokens: Tokens,
    eos_id: Natural,
    batch_size: Size,
    within_documents: bool = False,
    context_length: Size | None = None,
) -> Score:
    """Return the score that the headlines challenge's evaluator computes.

    It walks the text in spans of batch_size x context_length + 1 tokens, scores all but the first
    token of each, drops the incomplete last span, and still divides by all characters.

    Raises:
        ValueError: the text does not fill one span, or there is no context_length.
    """
    context = context_length_of(model, context_length)
    span = batch_size * context + 1
    n_spans = len(tokens.ids) // span
    if not n_spans:
        raise ValueError(f"{len(tokens.ids)} tokens do not fill one span of {span}")
    spans = torch.from_numpy(tokens.ids[: n_spans * span].astype(np.int64)).view(n_spans, span)
    windows = [(s[:-1].view(-1, context), s[1:].view(-1, context)) for s in spans]
    if within_documents:
        places = np.arange(n_spans * span).reshape(n_spans, span)[:, 1:]
        windows = windows_within(windows, tokens, places)
    return _summed(*token_nats(model, windows), spans[:, 1:].numpy(), tokens, eos_id)


def _summed(nats: Tensor, best: Tensor, targets: np.ndarray, tokens: Tokens, eos_id: int) -> Score:
    truth = torch.from_numpy(targets.astype(np.int64)).flatten()
    return Score(
        nats=nats.sum().item(),
        n_tokens=len(truth),
        of_tokens=tokens.info.n_tokens,
        characters=tokens.info.characters,
        bytes=tokens.info.bytes,
        n_correct=int((best == truth).sum()),
        n_end_predicted=int((best == eos_id).sum()),
        n_end=int((truth == eos_id).sum()),
    )

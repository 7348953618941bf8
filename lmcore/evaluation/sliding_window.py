"""Scores of a text in windows that overlap, so that each token has a long past to predict it from.

In windows that do not overlap, the first tokens of each have almost no past. With a smaller stride
the score is lower and evaluation is slower; stride and context are part of the number.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Integer
from torch import Tensor

from lmcore.boundary import checked
from lmcore.evaluation.score_types import Score
from lmcore.model.gpt import GPT
from lmcore.tokenizer.base import BaseTokenizer

TOKENS_PER_CALL = 2**11
"""Tokens that the model reads in one call: it bounds the memory for logits."""


def sliding_windows(
    x: Int[Tensor, "n"], y: Int[Tensor, "n"], context_length: int, stride: int
) -> Iterator[tuple[Int[Tensor, "rows seq"], Int[Tensor, "rows targets"]]]:
    """Yield windows of the inputs x with those of the targets y that they score, the last ones.

    The first window scores all its targets; every further one begins stride tokens later and
    scores the stride targets that are new. So each target is scored once, and how many tokens
    precede it in its window depends only on its position, not on the length of the text.
    """
    if not len(x):
        return
    yield x[None, :context_length], y[None, :context_length]
    n_full = max(0, len(x) - context_length) // stride
    rows = max(1, TOKENS_PER_CALL // context_length)
    if n_full:
        inputs = x.unfold(0, context_length, stride)[1:]
        targets = y.unfold(0, context_length, stride)[1:, context_length - stride :]
        yield from zip(inputs.split(rows), targets.split(rows), strict=True)
    done = context_length + n_full * stride
    if done < len(x):
        yield x[None, (n_full + 1) * stride :], y[None, done:]


@checked
def sliding_token_nats(
    model: GPT,
    ids: Integer[np.ndarray, "n"],
    stride: int | None = None,
    start_id: int | None = None,
) -> tuple[Float[Tensor, "n"], Int[Tensor, "n"]]:
    """Return each token's cross-entropy in nats and the id that was most probable in its place.

    The first token is scored as if it followed start_id. Without one it costs ln(vocab_size) nats,
    as under a uniform distribution, and -1 is its most probable id. Without a stride, windows do
    not overlap, as in the house score.

    Raises:
        ValueError: there is no token, or stride is not from 1 to the model's context length.
    """
    context = model.config.context_length
    stride = context if stride is None else stride
    if not len(ids):
        raise ValueError("there are no tokens to score")
    if not 1 <= stride <= context:
        raise ValueError(f"stride {stride} is not from 1 to the model's context of {context}")
    y = torch.from_numpy(ids.astype(np.int64))
    if start_id is None:
        x, y, unknown = y[:-1], y[1:], [math.log(model.config.vocab_size)]
    else:
        x, unknown = torch.cat([torch.tensor([start_id]), y[:-1]]), []
    nats, best = [torch.tensor(unknown, dtype=torch.float64)], [torch.tensor([-1] * len(unknown))]
    was_training = model.training
    model.eval()
    device = model.head_weight.device
    with torch.no_grad():
        for inputs, targets in sliding_windows(x, y, context, stride):
            logits = model(inputs.to(device), last=targets.shape[1]).flatten(0, 1).float()
            flat = targets.flatten().to(device)
            nats.append(F.cross_entropy(logits, flat, reduction="none").cpu().double())
            best.append(logits.argmax(-1).cpu())
    model.train(was_training)
    return torch.cat(nats), torch.cat(best).long()


@checked
def score_text(
    model: GPT,
    tokenizer: BaseTokenizer,
    text: str,
    stride: int | None = None,
    start_id: int | None = None,
) -> tuple[Score, Float[Tensor, "n"], Integer[np.ndarray, "n"]]:
    """Return the score of text, each token's nats, and the tokens' ids.

    Special tokens in text count as such, and start_id as the end of a document. See
    `sliding_token_nats`.

    Raises:
        ValueError: the text is empty, or stride is not from 1 to the model's context length.
    """
    ids = tokenizer.encode_array(text)
    score, nats = _score_ids(model, ids, len(text), len(text.encode()), stride, start_id)
    return score, nats, ids


@checked
def score_documents(
    model: GPT,
    tokenizer: BaseTokenizer,
    documents: Sequence[str],
    stride: int | None = None,
    eos_id: int | None = None,
) -> tuple[Score, Float[Tensor, "n"], Integer[np.ndarray, "n"]]:
    """Return the score of documents, each token's nats, and the tokens' ids.

    As in token files that `prepare` writes, eos_id follows each document and counts as its text,
    and nothing inside a document counts as special. See `sliding_token_nats`.

    Raises:
        ValueError: there is no token, or stride is not from 1 to the model's context length.
    """
    end = [] if eos_id is None else [eos_id]
    eos = tokenizer.decode(end)
    arrays = [np.append(ids, end) for ids in tokenizer.encode_many(documents, "text")]
    ids = np.concatenate(arrays).astype(tokenizer.dtype) if arrays else np.empty(0, tokenizer.dtype)
    characters = sum(len(document) + len(eos) for document in documents)
    n_bytes = sum(len(document.encode()) + len(eos.encode()) for document in documents)
    score, nats = _score_ids(model, ids, characters, n_bytes, stride, eos_id)
    return score, nats, ids


def _score_ids(
    model: GPT,
    ids: Integer[np.ndarray, "n"],
    characters: int,
    n_bytes: int,
    stride: int | None,
    start_id: int | None,
) -> tuple[Score, Float[Tensor, "n"]]:
    """Return the score of ids, which stand for so many characters and bytes, and their nats."""
    nats, best = sliding_token_nats(model, ids, stride, start_id)
    targets = torch.from_numpy(ids.astype(np.int64))
    score = Score(
        nats=nats.sum().item(),
        n_tokens=len(nats),
        of_tokens=len(ids),
        characters=characters,
        bytes=n_bytes,
        n_correct=int((best == targets).sum()),
        n_end_predicted=0 if start_id is None else int((best == start_id).sum()),
        n_end=0 if start_id is None else int((targets == start_id).sum()),
    )
    return score, nats

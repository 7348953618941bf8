"""What is kept of a model of headlines: its guesses, its loss by place, what counting scores.

The guess is taken at batch 0, time 10 of the validation text, as the challenge counts.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from lmcore.data.batches import documents_at, scoring_windows
from lmcore.evaluation.attention_maps import with_context_length
from lmcore.evaluation.scores import token_nats, token_scores
from lmcore.generation.probabilities import next_probabilities
from lmcore.model.gpt import GPT
from lmcore.tasks.titles import Corpus

TIME = 10


def next_token(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return the ten likeliest tokens at batch 0, time 10 of the validation text."""
    return guess(model, corpus, [int(id) for id in corpus.validation.ids[: TIME + 2]])


def guess(model: GPT, corpus: Corpus, ids: list[int]) -> dict[str, Any]:
    """Return the ten likeliest tokens at the last place of ids, given the tokens before it.

    If attention stays within documents, the model reads from the last <eos> on.
    """
    decode, before = corpus.tokenizer.decode, ids[:-1]
    if corpus.within_documents and corpus.eos_id in before:
        before = before[len(before) - 1 - before[::-1].index(corpus.eos_id) :]
    probabilities = next_probabilities(model, before)
    top = probabilities.topk(10)
    return {
        "input": decode(ids[:-1]),
        "target": decode(ids[-1:]),
        "target_probability": probabilities[ids[-1]].item(),
        "top": [
            {"token": decode([id]), "probability": value}
            for id, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ],
    }


def summed_by(
    bins: Int[np.ndarray, "tokens"], nats: Float[Tensor, "tokens"]
) -> dict[str, list[float] | list[int]]:
    """Return the sum of nats and the number of tokens in each bin."""
    sums = np.bincount(bins, nats.numpy())
    return {"nats": [round(total, 2) for total in sums.tolist()], "n": np.bincount(bins).tolist()}


def by_place(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return the nats of the validation text by the token's place in its title, from 0."""
    text = corpus.validation
    nats, _ = token_scores(model, text, corpus.eos_id, corpus.within_documents)
    places = np.arange(len(text.ids))
    return summed_by(places - text.documents[documents_at(text, places).numpy()], nats)


def by_position(model: GPT, corpus: Corpus, context_length: int, width: int) -> dict[str, Any]:
    """Return the nats of the validation text by position in windows of context_length.

    Positions are counted in bins of width.
    """
    ids = corpus.validation.ids
    longer = with_context_length(model, context_length)
    nats, _ = token_nats(longer, scoring_windows(ids, context_length, 8, corpus.eos_id))
    bins = np.arange(len(ids)) % context_length // width
    return {"width": width} | summed_by(bins, nats)


def unigram_nats(counts: np.ndarray, ids: np.ndarray) -> float:
    """Return the nats of ids under token frequencies, with one added to each count.

    A model that learns frequencies and nothing of the context ends here.
    """
    chances = (counts + 1) / (counts + 1).sum()
    return float(-np.log(chances[ids]).sum())

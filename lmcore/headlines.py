"""What studies of headlines show of a model: its guesses, where its loss is, what counting scores.

The place of a guess is time 10 of batch 0, as the challenge counts, of the validation text.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from torch import Tensor

from lmcore import plotting
from lmcore.batches import documents_at, scoring_windows
from lmcore.compare import validation
from lmcore.corpus import Corpus
from lmcore.evaluate import token_nats, token_scores
from lmcore.looks import lengthened
from lmcore.model import GPT
from lmcore.records import Run
from lmcore.sample import next_probabilities

TIME = 10


def next_token(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return the ten likeliest tokens at batch 0, time 10 of the validation text."""
    return guess(model, corpus, [int(id) for id in corpus.validation.ids[: TIME + 2]])


def guess(model: GPT, corpus: Corpus, ids: list[int]) -> dict[str, Any]:
    """Return the ten likeliest tokens in the place of the last of ids, given those before it.

    Read within documents, what stands before the last <eos> is not seen.
    """
    decode, before = corpus.tokenizer.decode, ids[:-1]
    if corpus.within_documents and corpus.end_id in before:
        before = before[len(before) - 1 - before[::-1].index(corpus.end_id) :]
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
    """Return for each bin the sum of the nats in it, and their number."""
    sums = np.bincount(bins, nats.numpy())
    return {"nats": [round(each, 2) for each in sums.tolist()], "n": np.bincount(bins).tolist()}


def by_place(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return the nats of the validation text by the token's place in its title, from 0 on."""
    text = corpus.validation
    nats, _ = token_scores(model, text, corpus.end_id, corpus.within_documents)
    places = np.arange(len(text.ids))
    return summed_by(places - text.documents[documents_at(text, places).numpy()], nats)


def by_position(model: GPT, corpus: Corpus, context_length: int, width: int) -> dict[str, Any]:
    """Return the nats of the validation text by position in windows of context_length.

    Positions are counted in bins of width.
    """
    ids = corpus.validation.ids
    longer = lengthened(model, context_length)
    nats, _ = token_nats(longer, scoring_windows(ids, context_length, 8, corpus.end_id))
    bins = np.arange(len(ids)) % context_length // width
    return {"width": width} | summed_by(bins, nats)


def unigram_nats(counts: np.ndarray, ids: np.ndarray) -> float:
    """Return the nats that ids cost a model that knows only how often tokens occurred, plus one.

    This is where a model ends that has learned frequencies and nothing of the context.
    """
    chances = (counts + 1) / (counts + 1).sum()
    return float(-np.log(chances[ids]).sum())


def unigram_level(run: Run) -> float:
    """Return nats per character of a model that knows only the training tokens' frequencies."""
    nats = run.outcome["probe"]["frequency"]["unigram_nats"]
    return nats / validation(run)["characters"]


def end_share(record: dict[str, Any]) -> float | None:
    """Return how often <eos> was the likeliest token, of all validation positions."""
    score = record.get("validation")
    return score and score["n_end_predicted"] / score["n_tokens"]


def draw_next_token(ax: Axes, runs: Sequence[Run], n: int = 10, color: str = plotting.OURS) -> None:
    """Draw the n likeliest tokens of the first run as bars, other seeds as marks."""
    probes = [run.outcome["probe"]["next_token"] for run in runs]
    top = probes[0]["top"][:n]
    tokens = [entry["token"] for entry in top]
    places = np.arange(len(tokens))
    ax.barh(places, [e["probability"] for e in top], color=color, height=0.65)
    for probe in probes[1:]:
        other = {entry["token"]: entry["probability"] for entry in probe["top"]}
        known = [(place, other[t]) for place, t in zip(places, tokens, strict=True) if t in other]
        ax.plot([p for _, p in known], [place for place, _ in known], "|", ms=14, color="black")
    ax.set_yticks(places, [plotting.shown(token) for token in tokens])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)

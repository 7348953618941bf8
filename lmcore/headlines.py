"""What studies of headlines show of a model: its guess at one place, and what counting would score.

The place is time 10 of batch 0, as the challenge counts, of the validation text.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lmcore import plotting
from lmcore.compare import validation
from lmcore.corpus import Corpus
from lmcore.model import GPT
from lmcore.records import Run
from lmcore.sample import next_probabilities

TIME = 10


def next_token(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return the ten likeliest tokens at batch 0, time 10 of the validation text."""
    decode = corpus.tokenizer.decode
    ids = [int(id) for id in corpus.validation.ids[: TIME + 2]]
    probabilities = next_probabilities(model, ids[:-1])
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

"""What studies of headlines show of a model: its guesses, where its loss is, what counting scores.

The place of a guess is time 10 of batch 0, as the challenge counts, of the validation text.
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lmcore.data.batches import documents_at, scoring_windows
from lmcore.evaluation.attention_maps import with_context_length
from lmcore.evaluation.scores import token_nats, token_scores
from lmcore.experiments.run_folder import Run
from lmcore.generation.probabilities import next_probabilities
from lmcore.model.gpt import GPT
from lmcore.report import plotting
from lmcore.report.tables import (
    Table,
    mean_sd,
    select,
    validation,
)
from lmcore.tasks.titles import Corpus

TIME = 10


def next_token(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return the ten likeliest tokens at batch 0, time 10 of the validation text."""
    return guess(model, corpus, [int(id) for id in corpus.validation.ids[: TIME + 2]])


def guess(model: GPT, corpus: Corpus, ids: list[int]) -> dict[str, Any]:
    """Return the ten likeliest tokens in the place of the last of ids, given those before it.

    Read within documents, what stands before the last <eos> is not seen.
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
    """Return for each bin the sum of the nats in it, and their number."""
    sums = np.bincount(bins, nats.numpy())
    return {"nats": [round(each, 2) for each in sums.tolist()], "n": np.bincount(bins).tolist()}


def by_place(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return the nats of the validation text by the token's place in its title, from 0 on."""
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
    """Return the nats that ids cost a model that knows only how often tokens occurred, plus one.

    This is where a model ends that has learned frequencies and nothing of the context.
    """
    chances = (counts + 1) / (counts + 1).sum()
    return float(-np.log(chances[ids]).sum())


def unigram_level(run: Run) -> float:
    """Return nats per character of a model that knows only the training tokens' frequencies."""
    nats = run.outcome["probe"]["frequency"]["unigram_nats"]
    return nats / validation(run).characters


def end_share(record: dict[str, Any]) -> float | None:
    """Return how often <eos> was the likeliest token, of all validation positions."""
    score = record.get("validation")
    return score and score.end_predicted_share


# What is read off runs


def last(run: Run, kind: str, name: str) -> float | None:
    """Return a number of the score called kind after the last step, or None if the run diverged."""
    score = run.records[-1].get(kind)
    return score and getattr(score, name)


def loss(run: Run) -> float | None:
    """Return nats per character of all validation tokens in the end, if the run got there."""
    return last(run, "validation", "nats_per_character")


def whole(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that did not diverge."""
    return [run for run in runs if loss(run) is not None]


def mean_loss(runs: Sequence[Run]) -> float:
    """Return the mean loss in the end; infinite where a run diverged or none is there."""
    found = [math.inf if loss(run) is None else loss(run) for run in runs]
    return statistics.fmean(found or [math.inf])


def beside(runs: Sequence[Run], others: Sequence[Run]) -> list[tuple[float, float]]:
    """Return the losses of runs and others of the same seed, where both got there."""
    known = {run.config.seed: loss(run) for run in whole(others)}
    return [(loss(run), known[run.config.seed]) for run in whole(runs) if run.config.seed in known]


def commits(runs: Sequence[Run]) -> str:
    """Return, shortened, the commits whose code made runs."""
    found = {each["commit"][:7] for run in runs for each in run.environment["sessions"]}
    return ", ".join(sorted(found))


SCORED = ("challenge", "coverage", "nats/character", "bits/byte", "ratio")


def scored(runs: Sequence[Run], first: Sequence[Run]) -> tuple[str, ...]:
    """Return the challenge's number, its coverage, the loss in two units, and its ratio to first's.

    The ratio is taken seed by seed.
    """
    return (
        mean_sd([last(run, "challenge", "nats_per_character") for run in runs], 3),
        mean_sd([last(run, "challenge", "coverage") for run in runs], 4),
        mean_sd([loss(run) for run in runs], 3),
        mean_sd([last(run, "validation", "bpb") for run in runs], 3),
        mean_sd([ours / theirs for ours, theirs in beside(runs, first)], 3),
    )


def gained(study: str, names: dict[str, str], runs: Sequence[Run]) -> Table:
    """Return the scores of a study's experiments, shown under names, and which runs say so.

    Ratios are to the first of them.
    """
    groups = {shown: select(runs, name) for shown, name in names.items()}
    first = next(iter(groups.values()))
    rows = tuple(
        (shown, *scored(own, first), names[shown], commits(own)) for shown, own in groups.items()
    )
    return Table((study, *SCORED, "runs", "commit"), rows)


LARGE_SEEDS = (1337, 1338, 1339)
"""Those of the baseline, beside which a step at its size stands."""
LADDER: dict[str, tuple[tuple[str, str], tuple[float, float] | None]] = {
    "SGD, the baseline": (("baseline", "sgd"), (1.753, 1.856)),
    "SGD, its rate tuned": (("adamw_swap", "large-sgd-lr1"), None),
    "AdamW": (("adamw_swap", "large-adamw-lr0.001"), (1.324, 1.401)),
    "RoPE, RMSNorm, vocabulary of 32k": (("rope_and_vocab", "large-recipe"), (1.252, 1.314)),
}
"""The steps at the baseline's size: study and name of our runs, and what is published of the same
step on other titles, as the challenge counts and corrected to every token."""


def ladder(runs: Sequence[Run]) -> Table:
    """Return what each step at the baseline's size gained, beside what is published of it.

    A step that was not run is left out.
    """
    groups = {
        shown: [run for run in runs if (run.config.study, run.config.name) == where]
        for shown, (where, _) in LADDER.items()
    }
    first, rows = next(iter(groups.values())), []
    _, start = next(iter(LADDER.values()))
    for shown, own in groups.items():
        where, known = LADDER[shown]
        published = ("", "") if known is None else (f"{known[0]:.3f}", f"{known[1] / start[1]:.3f}")
        if own:
            seeds, source = str(len(own)), ("/".join(where), commits(own))
            rows.append((shown, *scored(own, first), seeds, *published, *source))
    header = (
        "baseline's size", *SCORED, "seeds", "published challenge", "published ratio", "runs",
        "commit",
    )  # fmt: skip
    return Table(header, tuple(rows))


# What is drawn


def draw_changes(ax: Axes, higher: dict[str, Sequence[float]]) -> None:
    """Draw how much higher each change ends: a dot a seed, a bar their mean, a dashed line at 0."""
    for place, found in enumerate(higher.values()):
        ax.plot(found, [place] * len(found), "o", color=plotting.OURS, ms=5, alpha=0.7)
        if found:
            ax.plot(statistics.fmean(found), place, "|", color="black", ms=16)
    ax.axvline(0, color=plotting.REFERENCE, lw=1, ls=(0, (4, 3)), zorder=1)
    ax.set_yticks(range(len(higher)), list(higher))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)


def draw_guesses(
    groups: dict[str, Sequence[Run]], which: str, colors: dict[str, str], n: int = 6
) -> Figure:
    """Return the n likeliest tokens of each named group of runs, a panel each, and the input."""
    rows = len(groups) // 2 + 1
    fig, axes = plt.subplots(rows, 2, figsize=(plotting.WIDTH, 0.4 + 2 * rows), sharex=True)
    for ax, (shown, runs) in zip(axes.flat, groups.items(), strict=False):
        if runs:
            draw_next_token(ax, runs, n, colors[shown], which)
        ax.set_title(shown, color=colors[shown], fontsize=9.5, pad=4)
        ax.tick_params(labelsize=8.5)
    for ax in axes.flat[len(groups) :]:
        ax.axis("off")
    found = next(runs for runs in groups.values() if runs)[0].outcome["probe"][which]
    said = (
        f"input:\n{found['input'].strip()}\n\ntrue next token:\n{plotting.shown(found['target'])}"
    )
    axes.flat[len(groups)].annotate(
        said, (0, 0.9), xycoords="axes fraction", va="top", fontsize=9, wrap=True
    )
    fig.supxlabel("probability of the next token", fontsize=10)
    return fig


def draw_next_token(
    ax: Axes,
    runs: Sequence[Run],
    n: int = 10,
    color: str = plotting.OURS,
    which: str = "next_token",
) -> None:
    """Draw the n likeliest tokens of the first run's guess as bars, other seeds as marks."""
    probes = [run.outcome["probe"][which] for run in runs]
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

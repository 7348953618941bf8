"""What does a small GPT learn from 90,000 headlines with plain SGD?

Hypothesis: little beyond how often each token occurs; at a learning rate of 6e-3 and with the
gradient clipped, the steps of seven epochs cannot move the weights far from where they start.

Scientific hyperparameters: none, this is the baseline that later studies change one at a time.
Nuisance hyperparameters: the seed of weights and dropout.
Fixed hyperparameters: data, split, tokenizer, shape, optimizer, schedule, epochs.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lmcore.config import with_fields
from lmcore.data import grammar
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.run_folder import Run
from lmcore.generation.generate import generate
from lmcore.generation.sampling import Sampling
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.report import plotting
from lmcore.report.tables import Table, challenge, coverage, per_character, rate, validation
from lmcore.studies.headlines import (
    draw_next_token,
    end_share,
    next_token,
    unigram_level,
    unigram_nats,
)
from lmcore.tasks.titles import Corpus, TitlesConfig, joined, split_titles, titles_of
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig

SEEDS = (1337, 1338, 1339)
CHALLENGE = TrainConfig(
    batch_size=64,
    order="sequential",
    epochs=7,
    optimizer=OptimizerConfig(kind="sgd", lr=6e-3, weight_decay=0.0),
    schedule=ScheduleConfig(kind="cosine"),
    evaluation=EvaluationConfig(eval_at=(1, 44, 132, 264, 440, 616, 792)),
)
"""Training as the challenge's baseline does it."""
BASELINE = Experiment(
    study="baseline",
    name="sgd",
    seed=SEEDS[0],
    task=TitlesConfig(),
    model=ModelConfig(vocab_size=16_000, d_ff=2048),
    train=CHALLENGE,
)
KNOWN_ENTROPY = Experiment(
    study="baseline",
    name="known-entropy",
    seed=SEEDS[0],
    task=TitlesConfig(source="generated", n_titles=20_000, n_test_titles=2_000, vocab_size=512),
    model=ModelConfig(
        vocab_size=512, context_length=32, d_model=64, n_layers=2, n_heads=2, d_ff=256, dropout=0.0
    ),
    train=with_fields(
        CHALLENGE,
        {
            "batch_size": 16,
            "epochs": 4,
            "lr": 2.0,
            "eval_at": (1, 10, 30, 60, 100, 150, 200, 400, 600, 800),
        },
    ),
)
"""The same code on titles whose entropy is known, tuned on its own validation titles."""
PUBLISHED = {
    1: 2.0980, 44: 1.9500, 132: 1.8419, 264: 1.7881, 440: 1.7657, 616: 1.7566, 792: 1.7536,
    938: 1.7533,
}  # fmt: skip
"""Step to validation value as the challenge publishes it, on its data set's first revision."""
PROMPTS = ("", "Show HN:", "Why", "Google")


def experiments(seeds: tuple[int, ...] = SEEDS) -> list[Experiment]:
    """Return the baseline once for each of seeds, then the check on known entropy for each of ours.

    The first seed is the challenge's own.
    """
    headlines = [replace(BASELINE, seed=seed) for seed in seeds]
    return headlines + [replace(KNOWN_ENTROPY, seed=seed) for seed in SEEDS]


def floor(experiment: Experiment) -> float:
    """Return what the grammar itself scores on experiment's validation titles, in nats/character.

    A model that does not know the grammar cannot be expected to score lower.

    Raises:
        ValueError: the titles are real, so nobody knows their entropy.
    """
    config = experiment.task
    if config.source != "generated":
        raise ValueError(f"{experiment.path} reads real titles, whose entropy is unknown")
    titles = split_titles(titles_of(config, None)[0], config)["validation"]
    return grammar.surprise(titles) / len(joined(titles))


def probe(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return what the figures show of a trained model and its text, small enough to keep."""
    return {
        "next_token": next_token(model, corpus),
        "samples": samples(model, corpus),
        "frequency": frequency(corpus),
    }


def samples(model: GPT, corpus: Corpus) -> list[dict[str, Any]]:
    """Return a text for each prompt and temperature, the seed said, none left out."""
    encode, end = corpus.tokenizer.encode, corpus.eos_id
    out = []
    for prompt in PROMPTS:
        start = [end, *(encode(f" {prompt}") if prompt else [])]
        for temperature in (0.0, 1.0):
            sampling = Sampling(temperature=temperature)
            ids = generate(model, start, 24, sampling, seed=0, stop_ids=[end])
            text = corpus.tokenizer.decode(ids)
            out.append({"prompt": prompt, "temperature": temperature, "seed": 0, "text": text})
    return out


def frequency(corpus: Corpus, n_points: int = 120) -> dict[str, Any]:
    """Return how often tokens occur in the training text: by rank, and by name for the top.

    With it, what the validation text costs a model that knows these frequencies alone.
    """
    counts = np.bincount(corpus.train.ids, minlength=corpus.tokenizer.vocab_size)
    order = np.argsort(-counts, kind="stable")
    n_seen = int((counts > 0).sum())
    ranks = np.unique(np.geomspace(1, n_seen, n_points).round().astype(int))
    return {
        "n_tokens": int(counts.sum()),
        "n_distinct": n_seen,
        "unigram_nats": unigram_nats(counts, corpus.validation.ids),
        "by_rank": [[int(rank), int(counts[order[rank - 1]])] for rank in ranks],
        "top": [
            {"token": corpus.tokenizer.decode([int(id)]), "count": int(counts[id])}
            for id in order[:20]
        ],
    }


def check_claims(headlines: Sequence[Run], known: Sequence[Run]) -> None:
    """Assert what the text says of these runs.

    They start out knowing nothing, predict <eos> nearly everywhere, end above what counting tokens
    would score, and score every token; on known entropy the same code comes close to the floor.
    """
    for run in headlines:
        start, end = run.metrics[0]["validation"], validation(run)
        uniform = math.log(run.config.model.vocab_size)
        assert abs(start["nats"] / start["n_tokens"] - uniform) < 0.15
        assert 1 < per_character(end) / unigram_level(run) < 1.15
        assert end_share(run.metrics[-1]) > 0.98
        assert coverage(end) == 1
        assert coverage(challenge(run)) < 0.97
    for run in known:
        assert 1 <= per_character(validation(run)) / floor(run.config) < 1.06


def plot_validation(runs: Sequence[Run]) -> Figure:
    """Return validation loss against steps: the house metric, the challenge's, the published."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    points = {"marker": "o", "ms": 3.5}
    steps, full = plotting.curves(ax, runs, rate("validation"), label="every token", **points)
    _, kept = plotting.curves(
        ax, runs, rate("challenge"), label="challenge", color=plotting.OTHER, **points
    )
    ours = (steps[-1], full[-1])
    plotting.name_line(ax, ours, "every token scored", plotting.OURS, ha="right")
    # The lower lines end close together; their names stand where the curves leave room.
    name = "● challenge's number"
    plotting.name_line(ax, (steps[4], kept[1]), name, plotting.OTHER)
    if runs[0].config.scale == "full":
        published = list(PUBLISHED.items())
        ax.plot(*zip(*published, strict=True), "D", ms=4, color=plotting.PUBLISHED, zorder=3)
        name = "◆ published: challenge's number, on other titles"
        plotting.name_line(ax, (steps[4], kept[1]), name, plotting.PUBLISHED, (0, -10))
    plotting.level(ax, unigram_level(runs[0]), "counting tokens, ignoring context", above=False)
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.06 * (high - low), high)
    plotting.step_axis(ax, steps[-1])
    ax.set_ylabel("validation loss, nats per character")
    return fig


def plot_path(runs: Sequence[Run]) -> Figure:
    """Return validation loss against the sum of all learning rates so far.

    Where the gradient is not clipped, this is the length of the way in units of the gradient, so a
    loss that only a schedule holds up keeps falling here.
    """
    fig, ax = plt.subplots()
    for run in runs:
        gone = np.cumsum([record.get("lr", 0.0) for record in run.metrics])
        steps, loss = plotting.series(run, rate("validation"))
        ax.plot(gone[steps], loss, color=plotting.OURS, marker="o", ms=3.5)
    for step, x, y in list(zip(steps, gone[steps], loss, strict=True))[3:-2]:
        plotting.name_line(ax, (x, y), f"step {step}", plotting.REFERENCE, (3, 6))
    plotting.level(ax, unigram_level(runs[0]), "counting tokens, ignoring context", x=0.01)
    ax.set_xlabel("learning rates summed over steps")
    ax.set_ylabel("validation loss, nats per character")
    return fig


def plot_training(runs: Sequence[Run]) -> Figure:
    """Return training loss and gradient norm of each step's batch."""
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(plotting.WIDTH, 5.2), sharex=True)
    steps, _ = plotting.curves(top, runs, lambda r: r.get("loss"), label="loss", lw=1.2)
    vocab_size = runs[0].config.model.vocab_size
    plotting.level(top, math.log(vocab_size), f"all tokens alike: ln {vocab_size:,}")
    top.set_ylabel("training loss, nats per token")
    top.set_ylim(0, math.log(vocab_size) * 1.15)
    plotting.curves(bottom, runs, lambda r: r.get("grad_norm"), label="norm", lw=1.2)
    plotting.level(bottom, runs[0].config.train.optimizer.max_grad_norm, "clipped to this norm")
    bottom.set_ylabel("gradient norm")
    bottom.set_ylim(0, None)
    plotting.step_axis(bottom, steps[-1])
    return fig


def plot_end(runs: Sequence[Run]) -> Figure:
    """Return the share of positions where <eos> is likeliest, and where it really stands."""
    fig, ax = plt.subplots()
    steps, mean = plotting.curves(ax, runs, end_share, label="predicted", marker="o", ms=3.5)
    name = "<eos> is the likeliest next token"
    plotting.name_line(ax, (steps[-1], mean[-1]), name, plotting.OURS, (0, -14), ha="right")
    final = validation(runs[0])
    plotting.level(ax, final["n_end"] / final["n_tokens"], "a title really ends")
    plotting.step_axis(ax, steps[-1])
    ax.set_ylim(0, 1.04)
    ax.set_ylabel("share of validation positions")
    return fig


def plot_frequency(runs: Sequence[Run]) -> Figure:
    """Return token counts by rank on log axes, the most frequent tokens named."""
    fig, ax = plt.subplots()
    found = runs[0].outcome["probe"]["frequency"]
    ranks, counts = np.array(found["by_rank"]).T
    ax.loglog(ranks, counts, color=plotting.OURS)
    for rank in (1, 2, 3, 6, 20):  # others would stand in each other's way
        entry = found["top"][rank - 1]
        ax.plot(rank, entry["count"], "o", ms=4, color=plotting.OURS)
        token = plotting.shown(entry["token"])
        plotting.name_line(ax, (rank, entry["count"]), token, plotting.REFERENCE, (4, 5))
    ax.set_xlabel("rank of the token (log scale)")
    ax.set_ylabel(f"occurrences in {found['n_tokens']:,} tokens (log scale)")
    return fig


def plot_next_token(runs: Sequence[Run]) -> Figure:
    """Return the ten likeliest tokens of the first run, the input above, other seeds as marks."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    draw_next_token(ax, runs)
    ax.set_xlabel("probability of the next token")
    found = runs[0].outcome["probe"]["next_token"]
    target = f"{plotting.shown(found['target'])} ({found['target_probability']:.2g})"
    ax.set_title(f"input: {found['input'].strip()}\ntrue next token: {target}")
    return fig


def plot_floor(runs: Sequence[Run]) -> Figure:
    """Return validation loss on generated titles, down to the entropy of their grammar."""
    fig, ax = plt.subplots()
    lowest = floor(runs[0].config)
    steps, mean = plotting.curves(
        ax,
        runs,
        rate("validation"),
        label="model",
        marker="o",
        ms=3.5,
    )
    last = f"{mean[-1] / lowest - 1:.1%} above"
    plotting.name_line(ax, (steps[-1], mean[-1]), last, plotting.OURS, (0, 9), ha="right")
    plotting.level(ax, lowest, "entropy of the grammar: the floor", above=False, x=0.01)
    plotting.step_axis(ax, steps[-1], log=True)
    ax.set_ylim(0, None)
    ax.set_ylabel("validation loss, nats per character")
    return fig


def samples_table(run: Run) -> Table:
    """Return every sample of run with its prompt, temperature and seed."""
    rows = tuple(
        (s["prompt"] or "(none)", f"{s['temperature']:g}", str(s["seed"]), s["text"] or "(empty)")
        for s in run.outcome["probe"]["samples"]
    )
    return Table(("prompt", "temperature", "seed", "continuation"), rows)

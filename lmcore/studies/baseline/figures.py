"""Figures of the baseline."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import nats_per_character_of, validation
from lmcore.report.text import in_figure
from lmcore.studies.baseline.measures import entropy_floor
from lmcore.studies.headlines.figures import draw_next_token
from lmcore.studies.headlines.measures import end_share, unigram_level

PUBLISHED = {
    1: 2.0980, 44: 1.9500, 132: 1.8419, 264: 1.7881, 440: 1.7657, 616: 1.7566, 792: 1.7536,
    938: 1.7533,
}  # fmt: skip
"""The challenge's published validation values by step, on its data set's first revision."""


def plot_validation(runs: Sequence[Run]) -> Figure:
    """Return validation loss against steps: on every token, as the challenge counts, published."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    points = {"marker": "o", "ms": 3.5}
    steps, full = plotting.curves(
        ax, runs, nats_per_character_of("validation"), label="every token", **points
    )
    _, by_challenge = plotting.curves(
        ax,
        runs,
        nats_per_character_of("challenge"),
        label="challenge",
        color=plotting.OTHER,
        **points,
    )
    ours = (steps[-1], full[-1])
    plotting.name_line(ax, ours, "every token scored", plotting.OURS, ha="right")
    # The lower lines end close together; their names stand where the curves leave room.
    name = "● challenge's number"
    plotting.name_line(ax, (steps[4], by_challenge[1]), name, plotting.OTHER)
    if runs[0].config.scale == "full":
        published = list(PUBLISHED.items())
        ax.plot(*zip(*published, strict=True), "D", ms=4, color=plotting.PUBLISHED, zorder=3)
        name = "◆ published: challenge's number, on other titles"
        plotting.name_line(ax, (steps[4], by_challenge[1]), name, plotting.PUBLISHED, (0, -10))
    plotting.level(ax, unigram_level(runs[0]), "counting tokens, ignoring context", above=False)
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.06 * (high - low), high)
    plotting.step_axis(ax, steps[-1])
    ax.set_ylabel("validation loss, nats per character")
    return fig


def plot_path(runs: Sequence[Run]) -> Figure:
    """Return validation loss against the sum of the learning rates so far.

    If the loss only stops falling because the learning rate falls, it keeps falling on this axis.
    """
    fig, ax = plt.subplots()
    for run in runs:
        gone = np.cumsum([record.get("lr", 0.0) for record in run.records])
        steps, loss = plotting.series(run, nats_per_character_of("validation"))
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
    """Return the share of positions where <eos> is predicted, and where it is true."""
    fig, ax = plt.subplots()
    steps, mean = plotting.curves(ax, runs, end_share, label="predicted", marker="o", ms=3.5)
    name = "<eos> is the most likely next token"
    plotting.name_line(ax, (steps[-1], mean[-1]), name, plotting.OURS, (0, -14), ha="right")
    final = validation(runs[0])
    plotting.level(ax, final.end_share, "a title really ends")
    plotting.step_axis(ax, steps[-1], log=True)
    ax.set_ylim(0, 1.04)
    ax.set_ylabel("share of validation positions")
    return fig


def plot_frequency(runs: Sequence[Run]) -> Figure:
    """Return token counts by rank on log axes, with the names of frequent tokens."""
    fig, ax = plt.subplots()
    frequency = runs[0].outcome["probe"]["frequency"]
    ranks, counts = np.array(frequency["by_rank"]).T
    ax.loglog(ranks, counts, color=plotting.OURS)
    for rank in (1, 2, 3, 6, 20):  # others would stand in each other's way
        entry = frequency["top"][rank - 1]
        ax.plot(rank, entry["count"], "o", ms=4, color=plotting.OURS)
        token = plotting.shown(entry["token"])
        plotting.name_line(ax, (rank, entry["count"]), token, plotting.REFERENCE, (4, 5))
    ax.set_xlabel("rank of the token (log scale)")
    ax.set_ylabel(f"occurrences in {frequency['n_tokens']:,} tokens (log scale)")
    return fig


def plot_next_token(runs: Sequence[Run]) -> Figure:
    """Return the ten likeliest tokens of the first run, with other seeds as marks."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    draw_next_token(ax, runs)
    ax.set_xlabel("probability of the next token")
    guess = runs[0].outcome["probe"]["next_token"]
    target = f"{plotting.shown(guess['target'])} ({guess['target_probability']:.2g})"
    ax.set_title(f"input: {in_figure(guess['input'].strip())}\ntrue next token: {target}")
    return fig


def plot_floor(runs: Sequence[Run]) -> Figure:
    """Return validation loss on generated titles, down to the entropy of their grammar."""
    fig, ax = plt.subplots()
    lowest = entropy_floor(runs[0].config)
    steps, mean = plotting.curves(
        ax,
        runs,
        nats_per_character_of("validation"),
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

"""Figures of the study of stories."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import select
from lmcore.studies.headlines.figures import draw_changes
from lmcore.studies.stories.experiments import BASELINE, SWEEPS
from lmcore.studies.stories.measures import (
    differences,
    final_loss,
    mean_loss,
    text_metric,
    training_loss,
    validation_loss,
)
from lmcore.studies.stories.tables import shown

TRIO = {
    "baseline": "healthy",
    "few-stories": "overfitting",
    "other-tokenizer": "another tokenizer",
}
"""The three runs that one figure compares, with its words for them."""
REPAIR_COLORS = {
    "few-stories": plotting.REFERENCE,
    "few-stories-early-stopping": "black",
    "few-stories-dropout": plotting.OURS,
    "few-stories-decay": "#cc79a7",
    "few-stories-smaller": "#e69f00",
    "more-stories": plotting.OTHER,
}
METRICS = {
    "distinct_2": "distinct pairs",
    "repetition_4": "repeated fours",
    "known_words": "known words",
    "longest_copy": "longest copy, words",
}
"""Metrics of generated text that figures show, with their names there."""
TOP_P_COLORS = {1.0: plotting.OURS, 0.9: plotting.OTHER, 0.5: "#e69f00"}


def plot_overfitting(runs: Sequence[Run]) -> Figure:
    """Return training and validation loss of the healthy, overfitting and mistaken runs."""
    fig, axes = plt.subplots(1, 3, figsize=(plotting.WIDTH, 3.4), sharey=True)
    for ax, (name, title) in zip(axes, TRIO.items(), strict=True):
        group = select(runs, name)
        steps, _ = plotting.curves(ax, group, validation_loss, label="validation", marker="o", ms=3)
        draw_training(ax, group, steps)
        ax.set_title(title)
        ax.set_xlim(0, steps[-1] * 1.02)
        ax.set_xlabel("optimizer step")
    level = math.log(BASELINE.model.vocab_size)
    for ax in axes:
        ax.axhline(level, color=plotting.REFERENCE, lw=1, ls=(0, (4, 3)), zorder=1)
    note = {"fontsize": 9, "xycoords": "axes fraction"}
    axes[0].annotate("validation", (0.42, 0.62), color=plotting.OURS, **note)
    axes[0].annotate("training", (0.42, 0.53), color=plotting.PUBLISHED, **note)
    axes[1].annotate("dashed: guessing", (0.2, 0.93), color=plotting.REFERENCE, **note)
    axes[0].set_ylabel("loss, nats per token")
    return fig


def draw_training(ax: Axes, runs: Sequence[Run], steps: np.ndarray) -> None:
    """Draw the mean training loss just before each of steps."""
    places = [int(step) for step in steps.tolist() if step]
    values = np.array([[training_loss(run, step) for step in places] for run in runs])
    color = plotting.PUBLISHED
    ax.fill_between(places, values.min(0), values.max(0), color=color, alpha=0.25, lw=0)
    ax.plot(places, values.mean(0), color=color, label="training")


def plot_repairs(runs: Sequence[Run]) -> Figure:
    """Return the validation loss of the overfitting run and of each repair against steps."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    for name, color in REPAIR_COLORS.items():
        for number, run in enumerate(select(runs, name)):
            steps, losses = plotting.series(run, validation_loss)
            words = shown(name).removeprefix("few stories ")
            label = words if number == 0 else "_"
            style = {"lw": 1.4, "alpha": 0.8, "color": color}
            if run.config.train.evaluation.patience:
                best = int(np.argmin(losses))
                ax.plot(steps[best], losses[best], "D", ms=6, mfc="none", mec=color)
                ax.plot([], [], "D", ms=6, mfc="none", mec=color, label=f"{label}: kept here")
            else:
                ax.plot(steps, losses, label=label, **style)
    ax.legend(fontsize=9, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    last = max(run.records[-1]["step"] for run in runs)
    plotting.step_axis(ax, last)
    ax.set_ylabel("validation loss, nats per token")
    return fig


def plot_rates(runs: Sequence[Run]) -> Figure:
    """Return the final loss against the learning rate; a dot is a seed, the line their mean.

    A hollow dot at the top is a rate at which a seed diverged.
    """
    fig, ax = plt.subplots()
    groups = [select(runs, name) for name in SWEEPS["learning rate"]]
    groups = sorted((g for g in groups if g), key=lambda g: g[0].config.train.optimizer.lr)
    rates = [group[0].config.train.optimizer.lr for group in groups]
    means = np.array([mean_loss(group) for group in groups])
    ax.plot(rates, np.where(np.isfinite(means), means, np.nan), color=plotting.OURS)
    for lr, group in zip(rates, groups, strict=True):
        losses = [loss for run in group if (loss := final_loss(run)) is not None]
        ax.plot([lr] * len(losses), losses, "o", color=plotting.OURS, ms=4)
        if len(losses) < len(group):
            at = ax.get_xaxis_transform()
            ax.plot([lr], [1], "o", mfc="white", mec=plotting.OURS, transform=at, clip_on=False)
    ax.set_xscale("log")
    ax.set_xlabel("peak learning rate (log scale)")
    ax.set_ylabel("validation loss in the end, nats per token")
    return fig


def changed_names() -> list[str]:
    """Return the experiments that `plot_changes` shows, in order."""
    return [name for group in SWEEPS if group != "learning rate" for name in SWEEPS[group]]


def plot_changes(runs: Sequence[Run]) -> Figure:
    """Return how much higher each single change ends than the reference, by seed."""
    names = [name for name in changed_names() if select(runs, name)]
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 0.9 + 0.27 * len(names)))
    draw_changes(ax, {shown(name): differences(runs, name) for name in names})
    ax.set_xlabel("higher than the reference, nats per token")
    return fig


def plot_text(runs: Sequence[Run]) -> Figure:
    """Return metrics of the text that models write against steps, on many stories and on few."""
    fig, axes = plt.subplots(2, 2, figsize=(plotting.WIDTH, 4.8), sharex=True)
    colors = {"baseline": plotting.OURS, "few-stories": plotting.PUBLISHED}
    for ax, (metric, label) in zip(axes.flat, METRICS.items(), strict=True):
        for name, color in colors.items():
            _draw_entries(ax, select(runs, name), "steps", "step", metric, color)
        ax.set_title(label)
    for ax in axes[1]:
        ax.set_xlabel("optimizer step")
    note = {"fontsize": 9, "xycoords": "axes fraction"}
    axes[1, 1].annotate("all stories", (0.55, 0.25), color=colors["baseline"], **note)
    axes[1, 1].annotate("50 stories", (0.55, 0.12), color=colors["few-stories"], **note)
    return fig


def plot_sampling(runs: Sequence[Run]) -> Figure:
    """Return metrics of the proxy's text against temperature, a line for each top-p."""
    fig, axes = plt.subplots(2, 2, figsize=(plotting.WIDTH, 4.8), sharex=True)
    group = select(runs, BASELINE.name)
    for ax, (metric, label) in zip(axes.flat, METRICS.items(), strict=True):
        for top_p, color in TOP_P_COLORS.items():
            keep = _has_top_p(top_p)
            _draw_entries(ax, group, "sampling", "temperature", metric, color, keep)
        ax.set_title(label)
    for ax in axes[1]:
        ax.set_xlabel("temperature")
    for place, (top_p, color) in enumerate(TOP_P_COLORS.items()):
        at = (0.06, 0.9 - 0.12 * place)
        axes[0, 0].annotate(
            f"top-p {top_p:g}", at, xycoords="axes fraction", color=color, fontsize=9
        )
    return fig


def _has_top_p(top_p: float) -> Callable[[dict[str, Any]], bool]:
    return lambda entry: entry["top_p"] == top_p


def _draw_entries(
    ax: Axes,
    runs: Sequence[Run],
    kind: str,
    x: str,
    metric: str,
    color: str,
    keep: Callable[[dict[str, Any]], bool] = bool,
) -> None:
    """Draw a metric of one kind of entries in the runs' histories, its mean and its range."""
    chosen = [[entry for entry in run.outcome["history"][kind] if keep(entry)] for run in runs]
    values = np.array([[text_metric(entry, metric) for entry in entries] for entries in chosen])
    places = [entry[x] for entry in chosen[0]]
    ax.fill_between(places, values.min(0), values.max(0), color=color, alpha=0.25, lw=0)
    ax.plot(places, values.mean(0), color=color, marker="o", ms=3)


def healthy_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the runs on the proxy's text that did not diverge."""
    with_all = [run for run in runs if run.config.task.n_train_stories is None]
    right = [run for run in with_all if run.config.task.validation_tokenizer == "train"]
    return [run for run in right if final_loss(run) is not None]


def plot_loss_and_text(runs: Sequence[Run]) -> Figure:
    """Return two metrics of generated text against the loss: a dot for each run on the proxy."""
    fig, axes = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.2))
    losses = [final_loss(run) for run in runs]
    for ax, metric in zip(axes, ("known_words", "longest_copy"), strict=True):
        values = [text_metric(run.outcome["probe"], metric) for run in runs]
        ax.plot(losses, values, "o", color=plotting.OURS, ms=4, alpha=0.6)
        ax.set_title(METRICS[metric])
        ax.set_xlabel("validation loss, nats per token")
    return fig

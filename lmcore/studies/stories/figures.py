"""Figures of the losses of stories: overfitting and its repairs, and one change at a time."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import select
from lmcore.studies.headlines.figures import draw_changes
from lmcore.studies.stories.experiments import BASELINE, REFERENCE, SWEEPS, proxy
from lmcore.studies.stories.measures import (
    differences,
    final_loss,
    learned,
    mean_loss,
    training_loss,
    validation_loss,
)
from lmcore.studies.stories.tables import TRIO, shown

REPAIR_COLORS = {
    "few-stories": plotting.REFERENCE,
    "few-stories-early-stopping": "black",
    "few-stories-dropout": plotting.OURS,
    "few-stories-decay": "#cc79a7",
    "few-stories-smaller": "#e69f00",
    "more-stories": plotting.OTHER,
}
FINAL_LOSS = "validation loss in the end, nats per token"
GATED_COLORS = (plotting.PUBLISHED, plotting.OTHER)


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


def plot_log(runs: Sequence[Run]) -> Figure:
    """Return training and validation loss of the log against steps."""
    fig, ax = plt.subplots()
    steps, _ = plotting.curves(ax, runs, validation_loss, label="validation", marker="o", ms=3)
    draw_training(ax, runs, steps)
    plotting.step_axis(ax, int(steps[-1]))
    ax.set_ylabel("loss, nats per token")
    ax.legend(fontsize=9)
    return fig


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
    """Return the final loss against the learning rate."""
    fig, ax = plt.subplots()
    names = SWEEPS["learning rate"]
    draw_levels(ax, runs, {name: proxy(name).train.optimizer.lr for name in names})
    ax.set_xscale("log")
    ax.set_xlabel("peak learning rate (log scale)")
    ax.set_ylabel(FINAL_LOSS)
    return fig


def plot_widths(runs: Sequence[Run]) -> Figure:
    """Return the final loss against the width of a plain MLP, with SwiGLU's at equal weights."""
    fig, ax = plt.subplots()
    widths = {f"silu-{times}x": times for times in (1, 2, 4, 8)}
    draw_levels(ax, runs, widths, label="SiLU")
    gated = {REFERENCE.name: "SwiGLU", "parallel": "SwiGLU, attention and MLP in parallel"}
    for (name, label), color, place in zip(gated.items(), GATED_COLORS, (3.8, 4.2), strict=True):
        draw_levels(ax, runs, {name: place}, color=color, marker="D", label=label)
    ax.set_xscale("log", base=2)
    ax.set_xticks([*widths.values()], [f"{times}" for times in widths.values()])
    ax.set_xlabel(
        "width of the MLP, times d_model (log scale)\nSwiGLU: where it has as many weights"
    )
    ax.set_ylabel(FINAL_LOSS)
    ax.legend(fontsize=9)
    return fig


def plot_dropout(runs: Sequence[Run]) -> Figure:
    """Return the final loss against dropout where no story is read twice."""
    fig, ax = plt.subplots()
    names = (REFERENCE.name, *SWEEPS["dropout"])
    draw_levels(ax, runs, {name: proxy(name).model.dropout for name in names})
    ax.set_xlabel("dropout")
    ax.set_ylabel(FINAL_LOSS)
    return fig


def plot_batches(runs: Sequence[Run]) -> Figure:
    """Return the final loss against the batch size, with the learning rate kept and scaled."""
    fig, ax = plt.subplots()
    ways = {"the same learning rate": "", "scaled by the root of the batch size": "-lr"}
    for (label, end), color in zip(ways.items(), (plotting.OURS, plotting.OTHER), strict=True):
        names = [n for n in SWEEPS["batch size"] if n.endswith("-lr") == bool(end)]
        sizes = {name: proxy(name).train.batch_size for name in (*names, REFERENCE.name)}
        draw_levels(ax, runs, sizes, color=color, label=label)
    ax.set_xscale("log", base=2)
    ax.set_xticks([1, 4, 8, 32], ["1", "4", "8", "32"])
    ax.set_xlabel("windows in a batch (log scale)")
    ax.set_ylabel(FINAL_LOSS)
    ax.legend(fontsize=9)
    return fig


def draw_levels(
    ax: Axes,
    runs: Sequence[Run],
    levels: Mapping[str, int | float],
    *,
    color: str = plotting.OURS,
    marker: str = "o",
    label: str = "_",
) -> None:
    """Draw the final loss of experiments against their level: a dot for each seed, lines for means.

    A hollow dot at the top is a level at which a seed ends worse than guessing, without a line.
    """
    groups = {level: select(runs, name) for name, level in levels.items()}
    groups = {level: groups[level] for level in sorted(groups) if groups[level]}
    means = np.array([mean_loss(group) for group in groups.values()])
    ax.plot([*groups], np.where(np.isfinite(means), means, np.nan), color=color)
    for level, group in groups.items():
        ends = [final_loss(run) for run in group if learned(run)]
        losses = [loss for loss in ends if loss is not None]
        ax.plot([level] * len(losses), losses, marker, color=color, ms=4.5, alpha=0.8)
        if len(losses) < len(group):
            at = ax.get_xaxis_transform()
            ax.plot([level], [1], marker, mfc="white", mec=color, transform=at, clip_on=False)
            words = {"xytext": (-7, -3), "textcoords": "offset points", "ha": "right"}
            ax.annotate("worse than guessing", (level, 1), xycoords=at, fontsize=9, **words)
    ax.plot([], [], marker + ("-" if len(levels) > 1 else ""), color=color, ms=4.5, label=label)


def plot_group(runs: Sequence[Run], group: str) -> Figure:
    """Return how much higher each change of a group ends than the reference, by seed."""
    return draw_differences(runs, [*SWEEPS[group]])


def plot_changes(runs: Sequence[Run]) -> Figure:
    """Return how much higher every single change ends than the reference, by seed."""
    return draw_differences(runs, [n for g in SWEEPS if g != "learning rate" for n in SWEEPS[g]])


def draw_differences(runs: Sequence[Run], names: Sequence[str]) -> Figure:
    """Return a row for each experiment: a dot for each seed, a bar for their mean."""
    shown_names = [name for name in names if select(runs, name)]
    higher: dict[str, Sequence[float]] = {shown(n): differences(runs, n) for n in shown_names}
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 0.9 + 0.27 * len(higher)))
    draw_changes(ax, higher)
    ax.set_ylim(len(higher) - 0.5, -0.5)
    ax.set_xlabel("higher than the reference, nats per token")
    return fig

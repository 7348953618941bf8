"""Figures of the AdamW swap."""

from collections.abc import Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import nats_per_character_of, select
from lmcore.studies.adamw_swap.experiments import ABLATIONS, GIVEN, NAMES, OPTIMIZERS, TUNED
from lmcore.studies.adamw_swap.measures import differences, tuned_loss, update_ratio_of
from lmcore.studies.headlines.figures import draw_changes, draw_guesses
from lmcore.studies.headlines.measures import completed, final_loss, unigram_level

COLORS = {
    "SGD as given": plotting.REFERENCE,
    "SGD": "#e69f00",
    "SGD with momentum": "#cc79a7",
    "AdamW": plotting.OURS,
    "Muon and AdamW": plotting.OTHER,
}
"""The colour of each optimizer."""
FIRST_SHOWN = 4
"""The first step on step axes; earlier steps of the warmup hardly change the model."""


def plot_loss(runs: Sequence[Run]) -> Figure:
    """Return validation loss against steps for SGD as given and each optimizer as tuned."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    for shown, name in NAMES.items():
        group, color = completed(select(runs, name)), COLORS[shown]
        if group:
            steps, mean = plotting.curves(
                ax,
                group,
                nats_per_character_of("validation"),
                label=shown,
                color=color,
                marker="o",
                ms=3,
            )
            place = float(steps[-1]), float(mean[-1])
            plotting.name_line(ax, place, shown, color, (6.0, -3.0))
    plotting.level(ax, unigram_level(completed(runs)[0]), "counting tokens, ignoring context")
    steps = completed(runs)[0].records[-1]["step"]
    plotting.step_axis(ax, steps, log=True)
    ax.set_xlim(FIRST_SHOWN, 6.5 * steps)  # room for the names
    ax.set_ylabel("validation loss, nats per character")
    return fig


def plot_rates(runs: Sequence[Run]) -> Figure:
    """Return the final loss against the learning rate, for each optimizer.

    A dot is a seed, the line is the mean and a ring marks the chosen rate. Where a seed diverged,
    the line is broken and a hollow dot is at the top.
    """
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    for shown, contender in OPTIMIZERS.items():
        color = COLORS[shown]
        means = np.array([tuned_loss(runs, shown, lr) for lr in contender.rates])
        known = np.where(np.isfinite(means), means, np.nan)
        ax.plot(contender.rates, known, color=color, lw=1.4)
        for lr in contender.rates:
            group = select(runs, f"tune-{slug(shown)}-lr{lr:g}")
            ax.plot(
                [lr] * len(completed(group)),
                [final_loss(run) for run in completed(group)],
                "o",
                color=color,
                ms=4,
            )
            if len(completed(group)) < len(group):
                at = ax.get_xaxis_transform()
                ax.plot([lr], [1], "o", mfc="white", mec=color, transform=at, clip_on=False)
        best = TUNED[shown]
        place = (best, tuned_loss(runs, shown, best))
        ax.plot(*place, "o", ms=11, mfc="none", mec=color)
        plotting.name_line(ax, place, shown, color, (0.0, -18.0), ha="center")
    plotting.level(ax, unigram_level(completed(runs)[0]), "counting tokens, ignoring context")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.06 * (high - low), high)  # room for the lowest name
    ax.set_xscale("log")
    ax.set_xlabel("peak learning rate (log scale)")
    ax.set_ylabel("validation loss in the end, nats per character")
    return fig


def plot_inside(runs: Sequence[Run]) -> Figure:
    """Return the gradient norm and the size of updates against steps, for each optimizer.

    The gradient norm is a geometric mean over steps in equal parts of the log axis, of all seeds.
    The last step is left out, because its learning rate is zero.
    """
    fig, axes = plt.subplots(3, 1, figsize=(plotting.WIDTH, 8.4), sharex=True)
    steps = completed(runs)[0].records[-1]["step"]
    for shown, name in NAMES.items():
        group = [replace(run, records=run.records[:-1]) for run in completed(select(runs, name))]
        if not group:
            continue
        look = {"color": COLORS[shown], "lw": 1.3, "label": shown}
        axes[0].plot(*binned(group, lambda record: record.get("grad_norm")), **look)
        for ax, role in zip(axes[1:], ("hidden", "embedding"), strict=True):
            plotting.curves(ax, group, update_ratio_of(role), marker="o", ms=3, **look)
    labels = ("gradient norm", "update / weights,\nmatrices", "update / weights,\nembedding")
    for ax, label in zip(axes, labels, strict=True):
        ax.set_yscale("log")
        ax.margins(y=0.12)
        ax.set_ylabel(f"{label} (log)")
        plotting.step_axis(ax, steps, log=True)
        ax.set_xlim(FIRST_SHOWN, 6.5 * steps)  # room for the names
        ax.set_xlabel("")
    plotting.step_axis(axes[-1], steps, log=True)
    axes[-1].set_xlim(FIRST_SHOWN, 6.5 * steps)
    axes[0].set_yticks([0.3, 0.5, 1, 2], ["0.3", "0.5", "1", "2"])
    axes[0].minorticks_off()
    for ax in axes:
        plotting.name_ends(ax)
    plotting.level(axes[0], GIVEN.train.optimizer.max_grad_norm, "clipped to this norm")
    return fig


def binned(
    runs: Sequence[Run], value: plotting.Quantity, n_bins: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    """Return (steps, geometric means of value over runs) in bins of equal width on a log axis."""
    pairs = [plotting.series(run, value) for run in runs]
    steps, values = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    first = max(1, min(FIRST_SHOWN, steps.max(initial=1)))  # small runs end before it
    late = steps >= first
    steps, values = steps[late], values[late]
    edges = np.geomspace(first, steps.max(initial=first) + 1, n_bins + 1)
    places = np.digitize(steps, edges)
    full = [place for place in range(1, n_bins + 1) if (places == place).any()]
    at = [np.exp(np.log(steps[places == place]).mean()) for place in full]
    means = [np.exp(np.log(values[places == place]).mean()) for place in full]
    return np.array(at), np.array(means)


def plot_next_token(runs: Sequence[Run]) -> Figure:
    """Return a panel for each optimizer: its six likeliest tokens at batch 0, time 10."""
    groups = {shown: completed(select(runs, name)) for shown, name in NAMES.items()}
    return draw_guesses(groups, "next_token", COLORS)


def plot_ablations(runs: Sequence[Run]) -> Figure:
    """Return the final loss of each single change above that of AdamW as tuned, by seed."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    draw_changes(ax, {shown: differences(runs, shown) for shown in ABLATIONS})
    ax.set_xlabel("higher than AdamW as tuned, nats per character")
    return fig

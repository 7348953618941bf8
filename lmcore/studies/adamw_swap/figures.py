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

    The last step is left out, because its learning rate is zero.
    """
    fig, axes = plt.subplots(3, 1, figsize=(plotting.WIDTH, 7.6), sharex=True)
    quantities = {
        "gradient norm": lambda record: record.get("grad_norm"),
        "update / weights,\nmatrices": update_ratio_of("hidden"),
        "update / weights,\nembedding": update_ratio_of("embedding"),
    }
    for ax, (label, quantity) in zip(axes, quantities.items(), strict=True):
        for place, (shown, name) in enumerate(NAMES.items()):
            group = [
                replace(run, records=run.records[:-1]) for run in completed(select(runs, name))
            ]
            color = COLORS[shown]
            if not group:
                continue
            dots = {} if ax is axes[0] else {"marker": "o", "ms": 3}
            plotting.curves(ax, group, quantity, label=shown, color=color, lw=1.2, **dots)
            if ax is axes[1]:
                at = (0.02 + 0.33 * (place // 2), 0.5 - 0.1 * (place % 2))
                ax.annotate(shown, at, xycoords="axes fraction", color=color, fontsize=8.5)
        ax.set_yscale("log")
        ax.set_ylabel(f"{label} (log)")
    plotting.level(axes[0], GIVEN.train.optimizer.max_grad_norm, "clipped to this norm")
    steps = completed(runs)[0].records[-1]["step"]
    plotting.step_axis(axes[-1], steps, log=True)
    axes[-1].set_xlim(FIRST_SHOWN, steps)
    return fig


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

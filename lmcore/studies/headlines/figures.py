"""Figures that studies of headlines share."""

import statistics
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import nats_per_character_of, validation
from lmcore.report.text import in_figure
from lmcore.studies.headlines.measures import mean_loss, paired_losses
from lmcore.studies.headlines.tables import BEST_PUBLISHED, LADDER, ladder_groups


def plot_ladder(runs: Sequence[Run]) -> Figure:
    """Return a waterfall of the loss, relative to the first step, with published steps as marks.

    A bar spans what a step gained, means over seeds; dots are seeds. Steps without runs are left
    out.
    """
    groups = {shown: group for shown, group in ladder_groups(runs).items() if group}
    first, corrected = next(iter(groups.values())), next(iter(LADDER.values()))[1]
    assert corrected is not None  # the first step is the challenge's own baseline
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 1.3 + 0.6 * len(groups)))
    before, names = 1.0, []
    for place, (shown, group) in enumerate(groups.items()):
        ratios = [ours / theirs for ours, theirs in paired_losses(group, first)]
        mean, published = statistics.fmean(ratios), LADDER[shown][1]
        gain = f" ({100 * (1 - mean / before):.1f} % lower)" if place else " nats per character"
        names.append(f"{shown}\n{mean_loss(group):.3f}{gain}")
        ax.barh(place, mean - before, left=before, color=plotting.OURS, alpha=0.35, height=0.5)
        ax.plot(ratios, [place] * len(ratios), "o", color=plotting.OURS, ms=4, alpha=0.8)
        if place:
            ax.plot([before] * 2, [place - 0.75, place + 0.25], color=plotting.OURS, lw=1)
        if published and place:
            ax.plot(published[1] / corrected[1], place, "D", color=plotting.PUBLISHED, ms=6)
        before = mean
    best = BEST_PUBLISHED[1] / corrected[1]
    ax.axvline(best, color=plotting.PUBLISHED, lw=1.2, ls=(0, (4, 3)))
    text = f"dashed: best public entry, {best:.3f}\ndiamond: the same step, published"
    plotting.name_line(ax, (best, -0.05), text, plotting.PUBLISHED, offset=(6.0, -8.0))
    ax.set_xlim(0.95 * min(best, before), 1.02)
    ax.set_ylim(len(groups) - 0.5, -0.6)
    ax.set_yticks(range(len(groups)), names, fontsize=9)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("validation loss / baseline's (cut axis)")
    ax.grid(axis="y", visible=False)
    return fig


LADDER_COLORS = (plotting.REFERENCE, "#e69f00", plotting.OURS, plotting.OTHER)
"""The colours of the ladder's steps, from the baseline up."""


def plot_ladder_curves(runs: Sequence[Run]) -> Figure:
    """Return training and validation loss of the ladder's models against steps.

    Both are in nats per character, since the models have different vocabularies. Training loss is
    measured with dropout, averaged over SMOOTHED steps, and converted from nats per token with the
    validation text's characters per token.
    """
    groups = {shown: group for shown, group in ladder_groups(runs).items() if group}
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.4))
    last = max(int(run.records[-1]["step"]) for run in runs)
    for (shown, group), color in zip(groups.items(), LADDER_COLORS, strict=False):
        for run in group:
            score = validation(run)
            steps, losses = plotting.series(run, lambda record: record.get("loss"))
            kernel = np.ones(min(SMOOTHED, len(losses))) / min(SMOOTHED, len(losses))
            mean = np.convolve(losses, kernel, mode="valid") * score.nats_per_character / score.loss
            ax.plot(steps[len(kernel) - 1 :], mean, color=color, lw=0.7, alpha=0.6)
        value = nats_per_character_of("validation")
        plotting.curves(ax, group, value, label=shown, color=color, marker="o", ms=3.5)
    plotting.step_axis(ax, last, log=True)
    ax.set_xlim(min(FIRST_STEP, last / 4), 10 * last)  # room for the names
    ax.set_ylabel("loss, nats per character")
    top = max(value(run.records[0]) or 0 for run in runs)
    ax.set_ylim(None, 1.02 * top)
    plotting.name_ends(ax)
    return fig


def plot_ladder_guesses(runs: Sequence[Run]) -> Figure:
    """Return the likeliest next tokens of those of the ladder's models that share a tokenizer."""
    groups = {shown: group for shown, group in ladder_groups(runs).items() if group}
    task = next(iter(groups.values()))[0].config.task
    alike = {shown: group for shown, group in groups.items() if group[0].config.task == task}
    colors = dict(zip(LADDER, LADDER_COLORS, strict=False))
    return draw_guesses(alike, "next_token", colors)


FIRST_STEP = 40
"""The first step on the axis of the ladder's curves; before it most of them only warm up."""
SMOOTHED = 25
"""Steps over which training loss is averaged in figures."""


def draw_changes(ax: Axes, higher: dict[str, Sequence[float]]) -> None:
    """Draw the difference of each change: a dot for each seed, a bar for their mean."""
    for place, differences in enumerate(higher.values()):
        ax.plot(differences, [place] * len(differences), "o", color=plotting.OURS, ms=5, alpha=0.7)
        if differences:
            ax.plot(statistics.fmean(differences), place, "|", color="black", ms=16)
    ax.axvline(0, color=plotting.REFERENCE, lw=1, ls=(0, (4, 3)), zorder=1)
    ax.set_yticks(range(len(higher)), list(higher))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)


def draw_guesses(
    groups: Mapping[str, Sequence[Run]], which: str, colors: Mapping[str, str], n: int = 6
) -> Figure:
    """Return a panel for each named group of runs with its n likeliest tokens, and the input."""
    rows = (len(groups) + 1) // 2
    size = (plotting.WIDTH, 1 + 1.75 * rows)
    fig, axes = plt.subplots(rows, 2, figsize=size, sharex=True, squeeze=False)
    for ax, (shown, runs) in zip(axes.flat, groups.items(), strict=False):
        if runs:
            draw_next_token(ax, runs, n, colors[shown], which)
        ax.set_title(shown, color=colors[shown], fontsize=9.5, pad=4)
        ax.tick_params(labelsize=8.5)
    for ax in axes.flat[len(groups) :]:
        ax.axis("off")
        if rows > 1:
            axes[-2, 1].tick_params(labelbottom=True)
    guess = next(runs for runs in groups.values() if runs)[0].outcome["probe"][which]
    given = in_figure(textwrap.fill(f"input: {guess['input'].strip()}", 78))
    fig.suptitle(
        f"{given}\ntrue next token: {plotting.shown(guess['target'])}", fontsize=9.5, x=0.01,
        ha="left",
    )  # fmt: skip
    fig.supxlabel("probability of the next token", fontsize=10)
    return fig


def draw_next_token(
    ax: Axes,
    runs: Sequence[Run],
    n: int = 10,
    color: str = plotting.OURS,
    which: str = "next_token",
) -> None:
    """Draw the n likeliest tokens of the first run as bars, and other seeds as marks."""
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

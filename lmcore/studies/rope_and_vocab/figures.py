"""Figures of positions, attention within titles, vocabulary sizes and the recipe."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import select
from lmcore.studies.headlines.figures import draw_changes, draw_guesses
from lmcore.studies.headlines.measures import completed, final_loss, final_score
from lmcore.studies.rope_and_vocab.experiments import (
    CHANGES,
    CONFINED,
    POSITIONS,
    ROPE,
    SIZES,
    recipe_name,
    with_vocabulary,
    within_titles,
)
from lmcore.studies.rope_and_vocab.measures import (
    MIN_SHARE,
    differences,
    loss_per_token,
    mean_by_bin,
)
from lmcore.studies.rope_and_vocab.probes import CONTEXT_TRIED

COLORS = {
    "none": plotting.REFERENCE,
    "learned": "#e69f00",
    "sinusoidal": "#cc79a7",
    "sinusoidal, scaled": "#d55e00",
    "RoPE 1e2": "#56b4e9",
    ROPE: plotting.OURS,
    "RoPE 1e6": plotting.OTHER,
}
"""The colour of each kind of positions."""


OFF_THE_AXES = "sinusoidal"
"""The kind of positions whose loss by position is too high to be drawn with the others."""
TOKENS_SHOWN = 14
"""Tokens of the title in attention maps, so that their names can be read."""


def plot_positions(runs: Sequence[Run]) -> Figure:
    """Return the final loss of each kind of positions, across titles and within them."""
    fig, ax = plt.subplots()
    for place, shown in enumerate(POSITIONS):
        for name, offset, look in (
            (slug(shown), -0.12, {"mfc": COLORS[shown]}),
            (within_titles(shown), 0.12, {"mfc": "white"}),
        ):
            losses = [final_loss(run) for run in completed(select(runs, name))]
            dots = {"color": COLORS[shown], "ms": 5} | look
            ax.plot(losses, [place + offset] * len(losses), "o", **dots)
    ax.set_yticks(range(len(POSITIONS)), list(POSITIONS))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("validation loss in the end, nats per character")
    ax.annotate(
        "● attention across titles   ○ within titles", (0.98, 0.97), xycoords="axes fraction",
        ha="right", va="top", fontsize=9,
    )  # fmt: skip
    return fig


def plot_places(runs: Sequence[Run]) -> Figure:
    """Return the loss by place in a title, and its difference from learned positions."""
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(plotting.WIDTH, 6), sharex=True)
    groups = {shown: completed(select(runs, slug(shown))) for shown in ("none", "learned", ROPE)}
    groups["RoPE within titles"] = completed(select(runs, within_titles(ROPE)))
    _, learned = mean_by_bin(groups["learned"], "by_place", MIN_SHARE)
    for shown, group in groups.items():
        if not group:
            continue
        places, nats = mean_by_bin(group, "by_place", MIN_SHARE)
        seeds = np.stack([mean_by_bin([run], "by_place", MIN_SHARE)[1] for run in group])
        band = {"color": COLORS.get(shown, COLORS[ROPE]), "alpha": 0.2, "lw": 0}
        top.fill_between(places + 1, seeds.min(0), seeds.max(0), **band)
        bottom.fill_between(places + 1, (seeds - learned).min(0), (seeds - learned).max(0), **band)
        look = {"color": COLORS.get(shown, COLORS[ROPE]), "lw": 1.4, "label": shown}
        look |= {} if shown in COLORS else {"ls": (0, (2, 2))}
        top.plot(places + 1, nats, **look)
        bottom.plot(places + 1, nats - learned, **look)
    top.set_ylabel("nats per token")
    bottom.set_ylabel("the same, less that of\nlearned positions")
    bottom.set_xlabel("place of the token in its title")
    bottom.set_xlim(0, 1.3 * (places[-1] + 1))
    plotting.name_ends(bottom)
    return fig


def plot_beyond(runs: Sequence[Run]) -> Figure:
    """Return the loss by position in windows far longer than in training.

    Unscaled sinusoidal positions end far above all others and would squash them, so they are left
    out of the axes, with a line of text that says where they are.
    """
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.6))
    for shown in POSITIONS:
        group = completed(select(runs, slug(shown)))
        if not group or "by_position" not in group[0].outcome["probe"]:
            continue
        width = group[0].outcome["probe"]["by_position"]["width"]
        bins, nats = mean_by_bin(group, "by_position")
        if shown == OFF_THE_AXES:
            text = f"{shown}: {nats.min():.1f} to {nats.max():.1f}, off the axes"
            ax.set_title(text, color=COLORS[shown], fontsize=9, loc="right")
            continue
        seeds = np.stack([mean_by_bin([run], "by_position")[1] for run in group])
        band = {"color": COLORS[shown], "alpha": 0.2, "lw": 0}
        ax.fill_between(width * (bins + 0.5), seeds.min(0), seeds.max(0), **band)
        ax.plot(width * (bins + 0.5), nats, color=COLORS[shown], lw=1.4, label=shown)
    trained = runs[0].config.model.context_length
    ax.axvline(trained, color=plotting.REFERENCE, lw=1, ls=(0, (4, 3)), zorder=1)
    at = (trained, 0.97)
    ax.annotate(
        "trained up to here", at, xycoords=("data", "axes fraction"), xytext=(4, 0),
        textcoords="offset points", va="top", color=plotting.REFERENCE, fontsize=9,
    )  # fmt: skip
    ax.set_xlim(0, 1.25 * CONTEXT_TRIED)
    ax.set_xlabel("position in the window, tokens")
    ax.set_ylabel("validation loss, nats per token")
    plotting.name_ends(ax)
    return fig


def plot_vocabulary(runs: Sequence[Run]) -> Figure:
    """Return the loss per token and per byte of the same models against the vocabulary size.

    Hollow dots and the broken line are test titles.
    """
    fig, axes = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.7))
    units = {
        "nats per token": loss_per_token,
        "bits per byte": lambda run: final_score(run, "validation", "bpb"),
    }
    groups = {size: completed(select(runs, with_vocabulary(size).name)) for size in SIZES}
    for ax, (unit, value), color in zip(
        axes, units.items(), (plotting.OTHER, plotting.OURS), strict=True
    ):
        draw_sizes(ax, groups, value, {"color": color})
        ax.set_xscale("log")
        ax.set_xticks(SIZES, [f"{size // 1000}k" for size in SIZES])
        ax.minorticks_off()
        ax.set_xlabel("entries in the vocabulary (log scale)")
        ax.set_title(f"loss,\n{unit}", color=color)
    unseen = {"color": plotting.OURS, "mfc": "white", "ls": (0, (3, 2))}
    draw_sizes(axes[1], groups, lambda run: run.outcome["test"].bpb, unseen)
    axes[1].annotate(
        "● validation titles\n○ test titles", (0.04, 0.06), xycoords="axes fraction", fontsize=9
    )
    return fig


def draw_sizes(
    ax: Axes, groups: dict[int, list[Run]], value: Callable[[Run], float], look: dict[str, Any]
) -> None:
    """Draw a value of runs by vocabulary size: a dot for each seed, a line through the means."""
    known = {size: [value(run) for run in group] for size, group in groups.items() if group}
    means = [statistics.fmean(values) for values in known.values()]
    ax.plot(list(known), means, lw=1.4, **look)
    points = [(size, one_value) for size, values in known.items() for one_value in values]
    ax.plot(*zip(*points, strict=True), "o", ms=4, **look | {"ls": "none"})


def plot_recipe(runs: Sequence[Run]) -> Figure:
    """Return the final loss of each change to the recipe above that of the recipe, by seed."""
    fig, ax = plt.subplots()
    draw_changes(
        ax, {change: differences(runs, recipe_name(change), "recipe") for change in CHANGES}
    )
    ax.set_xlabel("higher than the published recipe, nats per character")
    return fig


def shown_groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of some kinds of positions, by the name that figures show."""
    groups = {name: completed(select(runs, slug(name))) for name in CONFINED}
    return groups | {"RoPE, within titles": completed(select(runs, within_titles(ROPE)))}


def plot_guesses(runs: Sequence[Run], which: str) -> Figure:
    """Return the likeliest tokens at the place called which, a panel for each of four models."""
    colors = COLORS | {"RoPE, within titles": COLORS[ROPE]}
    return draw_guesses(shown_groups(runs), which, colors)


def plot_title(runs: Sequence[Run]) -> Figure:
    """Return attention maps of the first layer's heads in one title, with RoPE and without."""
    kinds = {"none": "no positions", "learned": "learned", ROPE: "RoPE"}
    titles = {
        label: completed(select(runs, slug(name)))[0].outcome["probe"]["title"]
        for name, label in kinds.items()
    }
    n_heads = len(next(iter(titles.values()))["percent"][0])
    fig, axes = plt.subplots(
        n_heads, len(titles), figsize=(plotting.WIDTH, 1.95 * n_heads + 0.9), sharex=True,
        sharey=True, squeeze=False,
    )  # fmt: skip
    for column, (label, title) in zip(axes.T, titles.items(), strict=True):
        tokens = [plotting.shown(token) for token in title["tokens"][:TOKENS_SHOWN]]
        for number, (ax, head) in enumerate(zip(column, title["percent"][0], strict=True)):
            image = draw_map(ax, head[:TOKENS_SHOWN], tokens)
            ax.set_title(f"{label}, head {number + 1}", fontsize=8.5, pad=3)
    bar = fig.colorbar(image, ax=axes, location="bottom", shrink=0.5, pad=0.02, aspect=40)
    bar.set_label("attention, percent", fontsize=9)
    bar.outline.set_visible(False)
    fig.supxlabel("token attended to", fontsize=10)
    fig.supylabel("token that attends", fontsize=10)
    return fig


def draw_map(ax: Axes, rows: Sequence[Sequence[int]], tokens: Sequence[str]) -> AxesImage:
    """Draw the attention of each token, a row, to itself and to earlier tokens."""
    n = len(rows)
    square = np.full((n, n), np.nan)
    for i, row in enumerate(rows):
        square[i, : len(row)] = row
    ax.grid(visible=False)
    ax.set_xticks(np.arange(n), tokens, fontsize=7, rotation=90)
    ax.set_yticks(np.arange(n), tokens, fontsize=7)
    ax.tick_params(length=0)
    return ax.imshow(square, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")

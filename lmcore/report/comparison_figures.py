"""Figures that compare experiments in bits per byte: against cost, and one change at a time."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.comparison import (
    bits_per_byte,
    differences,
    names_of,
    pareto,
    spread,
)
from lmcore.report.tables import select

MOST_LETTERS = 40
"""A longer label of a bar is its name alone."""
Cost = Callable[[Run], int | float]


def parameters(run: Run) -> int:
    """Return the number of a run's trained numbers."""
    return run.config.model.n_parameters


def training_s(run: Run) -> int | float:
    """Return the seconds that a run trained."""
    return run.environment["training_s"]


def plot_costs(runs: Sequence[Run], costs: Mapping[str, Cost], prefix: str = "") -> Figure:
    """Return bits per byte against each cost: mean and range over seeds, and the Pareto front.

    prefix is left out of the experiments' names.
    """
    names = names_of(runs)
    fig, axes = plt.subplots(
        len(costs), 1, figsize=(plotting.WIDTH, 3.6 * len(costs)), squeeze=False
    )
    for ax, (label, cost) in zip(axes[:, 0], costs.items(), strict=True):
        draw_cost(ax, runs, names, cost, prefix)
        ax.set_xlabel(f"{label} (log scale)")
        ax.set_ylabel("validation, bits per byte")
    return fig


def draw_cost(ax: Axes, runs: Sequence[Run], names: Sequence[str], cost: Cost, prefix: str) -> None:
    """Draw a point with its range for each experiment, and a line through the Pareto front."""
    points = []
    for name in names:
        own = [run for run in select(runs, name) if "diverged" not in run.outcome]
        mean, low, high = spread([bits_per_byte(run) for run in own])
        points.append((spread([cost(run) for run in own])[0], mean, low, high))
    front = pareto([point[0] for point in points], [point[1] for point in points])
    ax.plot(
        [points[i][0] for i in front], [points[i][1] for i in front],
        color=plotting.OTHER, lw=1.2, zorder=1, drawstyle="steps-post",
    )  # fmt: skip
    for place, (x, mean, low, high) in enumerate(points):
        color = plotting.OTHER if place in front else plotting.OURS
        ax.plot([x, x], [low, high], color=color, lw=1.4)
        ax.plot(x, mean, "o", ms=4.5, color=color)
    log_axis(ax)
    ax.margins(x=0.12, y=0.12)
    spread_names(
        ax, [(x, mean) for x, mean, _, _ in points], [n.removeprefix(prefix) for n in names]
    )


def plot_tokens(runs: Sequence[Run], prefix: str = "") -> Figure:
    """Return bits per byte against tokens read: means, with bands from least to greatest seed.

    prefix is left out of the experiments' names.
    """
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.4))
    for name in names_of(runs):
        scored = [
            [(r["tokens"], r["validation"].bpb) for r in run.records if "validation" in r]
            for run in select(runs, name)
            if "diverged" not in run.outcome
        ]
        rows = [row[row[0][0] == 0 :] for row in scored]  # a logarithmic axis has no zero
        shared = min(map(len, rows), default=0)  # an early stop ends one seed before others
        if not shared:
            continue
        tokens = [row[0] for row in rows[0][:shared]]
        losses = np.array([[bpb for _, bpb in row[:shared]] for row in rows])
        [line] = ax.plot(
            tokens, losses.mean(0), marker="o", ms=3, lw=1.2, label=name.removeprefix(prefix)
        )
        ax.fill_between(
            tokens, losses.min(0), losses.max(0), color=line.get_color(), alpha=0.2, lw=0
        )
    log_axis(ax)
    ax.set_xlabel("tokens read (log scale)")
    ax.set_ylabel("validation, bits per byte")
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * (high / low) ** 0.3)  # room for names
    plotting.name_ends(ax)
    return fig


def log_axis(ax: Axes) -> None:
    """Make the x axis logarithmic, with plain numbers at 1, 2 and 5 times powers of ten."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.10g}"))
    ax.xaxis.set_minor_formatter(ticker.NullFormatter())


def spread_names(ax: Axes, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Write names next to points, moved up or down where they would cover one another."""
    cast(Figure, ax.figure).draw_without_rendering()
    scale = 72 / ax.figure.dpi
    places = (scale * ax.transData.transform(points)).tolist()
    taken: list[tuple[float, float, float]] = []
    for number in sorted(range(len(points)), key=lambda i: places[i][1]):
        x, y = places[number][0] + 5, places[number][1] + 4
        width = 6.2 * len(names[number])
        while any(x < tx + tw and tx < x + width and abs(y - ty) < 10 for tx, ty, tw in taken):
            y += 1
        taken.append((x, y, width))
        plotting.name_line(
            ax, points[number], names[number], plotting.REFERENCE, (5.0, y - places[number][1])
        )


def plot_changes(
    runs: Sequence[Run], baseline: str, descriptions: Mapping[str, str], prefix: str = ""
) -> Figure:
    """Return what each change did to bits per byte, against the baseline of the same seed.

    Points are seeds, bars their mean; left of zero is better.
    """
    names = [name for name in names_of(runs) if name != baseline]
    names = [name for name in names if differences(runs, name, baseline)]
    means = {name: spread(differences(runs, name, baseline))[0] for name in names}
    names.sort(key=lambda name: -means[name])
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 0.6 + 0.36 * len(names)))
    for place, name in enumerate(names):
        color = plotting.OTHER if means[name] < 0 else plotting.PUBLISHED
        ax.barh(place, means[name], height=0.6, color=color, alpha=0.35, lw=0)
        values = differences(runs, name, baseline)
        ax.plot(values, [place] * len(values), "o", ms=3.5, color=color)
    ax.axvline(0, color=plotting.REFERENCE, lw=1)
    short = [name.removeprefix(prefix) for name in names]
    full = {name: f"{name}: {text}" for name, text in descriptions.items()}
    labels = [full[n] if len(full.get(n, "")) in range(1, MOST_LETTERS) else n for n in short]
    ax.set_yticks(range(len(names)), labels)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"bits per byte against {baseline.removeprefix(prefix)} (less is better)")
    return fig


def plot_loss(run: Run) -> Figure:
    """Return a run's training loss and validation loss against tokens."""
    fig, ax = plt.subplots()
    for key, label, color in (
        ("loss", "training batches", plotting.OURS),
        ("validation", "validation", plotting.OTHER),
    ):
        points = [(r["tokens"], getattr(r[key], "loss", r[key])) for r in run.records if key in r]
        marker: dict[str, Any] = {"marker": "o", "ms": 3.5} if key == "validation" else {"lw": 1}
        tokens, losses = zip(*points, strict=True)
        ax.plot(tokens, losses, color=color, label=label, **marker)
    ax.set_xlabel("tokens")
    ax.set_ylabel("loss, nats per token")
    plotting.name_ends(ax)
    return fig


def save_figures(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Write figures to folder as <label>.svg and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for label, fig in figures.items():
        paths.append(folder / f"{label}.svg")
        fig.savefig(paths[-1], metadata=plotting.METADATA)
        plt.close(fig)
    return paths

"""Figures of the text that models of stories write."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import select
from lmcore.studies.stories.experiments import BASELINE
from lmcore.studies.stories.measures import final_loss, text_metric, validation_loss

METRICS = {
    "distinct_2": "distinct pairs",
    "repetition_4": "repeated fours",
    "known_words": "known words",
    "longest_copy": "longest copy, words",
    "words": "length, words",
}
"""Metrics of generated text that figures show, with their names there."""
ENDED = {"ended": "texts that end by themselves"}
TOP_P_COLORS = {1.0: plotting.OURS, 0.9: plotting.OTHER, 0.5: "#e69f00"}


def plot_text(runs: Sequence[Run]) -> Figure:
    """Return the loss and metrics of the text that models write against steps, on many stories and
    on few.
    """
    fig, axes = panels("optimizer step")
    colors = {BASELINE.name: plotting.OURS, "few-stories": plotting.PUBLISHED}
    for name, color in colors.items():
        group = select(runs, name)
        loss = {"label": name, "color": color, "marker": "o", "ms": 3}
        plotting.curves(axes[0], group, validation_loss, **loss)
        for ax, metric in zip(axes[1:], METRICS, strict=True):
            draw_entries(ax, group, "steps", "step", metric, color)
    name_panels(axes, {"loss": "validation loss, nats per token"} | METRICS)
    name_lines(axes[0], {"50 stories": colors["few-stories"], "all stories": plotting.OURS}, 0.3)
    return fig


def plot_sampling(runs: Sequence[Run]) -> Figure:
    """Return metrics of the proxy's text against temperature, a line for each top-p."""
    fig, axes = panels("temperature")
    group, metrics = select(runs, BASELINE.name), METRICS | ENDED
    for ax, metric in zip(axes, metrics, strict=True):
        for top_p, color in TOP_P_COLORS.items():
            draw_entries(ax, group, "sampling", "temperature", metric, color, _has_top_p(top_p))
    name_panels(axes, metrics)
    name_lines(axes[0], {f"top-p {top_p:g}": color for top_p, color in TOP_P_COLORS.items()})
    return fig


def panels(xlabel: str) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of six panels that share their horizontal axis, and the panels."""
    fig, axes = plt.subplots(3, 2, figsize=(plotting.WIDTH, 6.8), sharex=True)
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    return fig, [*axes.flat]


def name_panels(axes: Sequence[Axes], names: dict[str, str]) -> None:
    """Write a title over each panel."""
    for ax, name in zip(axes, names.values(), strict=True):
        ax.set_title(name)


def name_lines(ax: Axes, colors: dict[str, str], left: float = 0.06) -> None:
    """Write the names of lines in their colours, from left, a share of the width."""
    for place, (name, color) in enumerate(colors.items()):
        at = (left, 0.9 - 0.12 * place)
        ax.annotate(name, at, xycoords="axes fraction", color=color, fontsize=9)


def _has_top_p(top_p: float) -> Callable[[dict[str, Any]], bool]:
    return lambda entry: entry["top_p"] == top_p


def draw_entries(
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

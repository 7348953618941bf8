"""Figures of the named experiments."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.comparison_figures import log_axis, parameters, plot_changes, plot_costs
from lmcore.studies.named.experiments import CHANGES, scaled_name
from lmcore.studies.named.measures import (
    PART,
    group,
    mean_processor_s,
    processor_s,
    rule_of_thumb,
    vocabularies,
    width_law,
    width_points,
)

PREFIX = scaled_name("", PART)
CURVES = {
    "baseline": plotting.REFERENCE,
    "vocab_small": plotting.PUBLISHED,
    "embd_xlarge": plotting.OTHER,
    "lr_high": plotting.OURS,
}
"""Experiments whose curves are drawn, with their colours."""


def eighths(runs: Sequence[Run]) -> list[Run]:
    """Return the runs of an eighth of an experiment with a published name."""
    names = {scaled_name(name, PART) for name in CHANGES}
    return [run for run in runs if run.config.name in names]


def plot_each_change(runs: Sequence[Run]) -> Figure:
    """Return what each change did to the bits per byte of the baseline's eighth, at equal steps."""
    descriptions = {name: change.description for name, change in CHANGES.items()}
    return plot_changes(eighths(runs), scaled_name("baseline", PART), descriptions, PREFIX)


def plot_against_costs(runs: Sequence[Run]) -> Figure:
    """Return bits per byte against parameters and a processor's seconds, with the Pareto front."""
    costs = {"parameters": parameters, "seconds of a processor": processor_s}
    return plot_costs(eighths(runs), costs, PREFIX)


def plot_learning(runs: Sequence[Run]) -> Figure:
    """Return bits per byte against tokens and against a processor's seconds."""
    fig, axes = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.6), sharey=True)
    for name, color in CURVES.items():
        own = group(runs, name)
        if not own:
            continue
        scored = [[r for r in run.records if "validation" in r and r["step"]] for run in own]
        tokens = np.array([record["tokens"] for record in scored[0]])
        losses = np.array([[record["validation"].bpb for record in lines] for lines in scored])
        seconds = tokens / tokens[-1] * mean_processor_s(own)
        for ax, x in zip(axes, (tokens / 1_000, seconds), strict=True):
            ax.fill_between(x, losses.min(0), losses.max(0), color=color, alpha=0.25, lw=0)
            ax.plot(x, losses.mean(0), color=color, marker="o", ms=3, label=name)
    for ax, label in zip(axes, ("thousands of tokens", "seconds of a processor"), strict=True):
        log_axis(ax)
        ax.set_xlabel(f"{label} (log scale)")
    axes[0].set_ylabel("validation, bits per byte")
    low, high = axes[1].get_xlim()
    axes[1].set_xlim(low, 4 * high)  # room for names
    plotting.name_ends(axes[1])
    return fig


VOCAB_COLORS = (plotting.OURS, plotting.OTHER, plotting.REFERENCE)
"""A colour for each vocabulary, from large to small."""


def plot_widths(runs: Sequence[Run]) -> Figure:
    """Return bits per byte against d_model by vocabulary, with power laws and the rule of thumb."""
    fig, ax = plt.subplots()
    rules = []
    for (vocab, size), color in zip(vocabularies(runs).items(), VOCAB_COLORS, strict=False):
        points, law = width_points(runs, vocab), width_law(runs, vocab)
        ax.plot(*zip(*points, strict=True), "o", ms=4, color=color)
        rules.append(rule_of_thumb(size))
        widths = np.geomspace(rules[-1], max(width for width, _ in points), 50)
        measured = widths >= min(width for width, _ in points)
        for part, style in ((measured, "-"), (~measured, (0, (2, 2)))):
            line = [law.at(float(width)) for width in widths[part]]
            ax.plot(widths[part], line, ls=style, lw=1.2, color=color)
        start = min(width for width, _ in points)
        name = f"{size:,} entries"
        plotting.name_line(ax, (start, law.at(float(start))), name, color, (8, 5))
    ax.axvspan(min(rules), max(rules), color=plotting.PUBLISHED, alpha=0.2, lw=0)
    bottom = ax.get_ylim()[0]
    text = f"rule of thumb: {min(rules):.1f} to {max(rules):.1f}"
    plotting.name_line(ax, (max(rules), bottom), text, plotting.PUBLISHED, (4, 6))
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    ax.set_xticks([8, 16, 32, 64, 96])
    ax.set_yticks([2.4, 2.6, 2.8, 3.0, 3.2])
    ax.set_xlabel("d_model (log scale)")
    ax.set_ylabel("validation, bits per byte (log scale)")
    return fig

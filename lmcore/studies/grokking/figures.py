"""Figures of the grokking study."""

import base64
import math
import statistics
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import select
from lmcore.studies.grokking import circuits
from lmcore.studies.grokking.experiments import (
    DECAYS,
    FAST,
    FRACTIONS,
    METHODS,
    MODULI,
    RATES,
    SOLVED,
    STEADY,
    table,
)
from lmcore.studies.grokking.measures import (
    accuracy,
    coverage,
    final_accuracy,
    logit_size,
    loss,
    mean_solving_step,
    outcome_accuracy,
    solved_at,
    tuning_runs,
)
from lmcore.tasks.modular import LENGTH
from lmcore.tasks.sentence import Sentence

TRAIN, VALIDATION = plotting.REFERENCE, plotting.OURS
"""The colours of training and validation pairs."""
REFERENCE = plotting.REFERENCE


def draw_accuracy(ax: Any, runs: Sequence[Run], names: dict[str, str] | None = None) -> int:
    """Draw a thin line for each run and set, and return the last step."""
    last = 1
    for name, color in (names or {"train": TRAIN, "validation": VALIDATION}).items():
        for run in runs:
            steps, values = plotting.series(run, lambda record, name=name: accuracy(record, name))
            ax.plot(steps[1:], values[1:], color=color, lw=1.2, alpha=0.8)
            last = max(last, int(steps[-1]))
    ax.set_ylim(0, 1.04)
    ax.set_ylabel("share of right answers")
    return last


def plot_curves(runs: Sequence[Run]) -> Figure:
    """Return accuracy and loss of training and validation on a log step axis, by seed."""
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(plotting.WIDTH, 5.4), sharex=True)
    last = draw_accuracy(top, runs)
    for name, color in (("train", TRAIN), ("validation", VALIDATION)):
        for run in runs:
            steps, values = plotting.series(run, lambda record, name=name: loss(record, name))
            bottom.plot(steps[1:], values[1:], color=color, lw=1.2, alpha=0.8)
        y = {"train": 0.62, "validation": 0.5}[name]
        top.annotate(name, (0.02, y), xycoords="axes fraction", color=color, fontsize=9)
    bottom.set_yscale("log")
    bottom.set_ylabel("loss, nats per answer (log scale)")
    plotting.step_axis(bottom, last, log=True)
    return fig


def plot_fast(runs: Sequence[Run]) -> Figure:
    """Return accuracy of the fast division for each seed, and the step that solved it."""
    fig, ax = plt.subplots()
    last = draw_accuracy(ax, runs)
    for run in runs:
        if at := solved_at(run):
            ax.plot(at, SOLVED, "v", color=VALIDATION, ms=6, zorder=3)
    plotting.level(ax, SOLVED, f"{SOLVED:.0%}", above=False, x=0.01)
    for name, color, y in (("train", TRAIN, 0.62), ("validation", VALIDATION, 0.5)):
        ax.annotate(name, (0.02, y), xycoords="axes fraction", color=color, fontsize=9)
    plotting.step_axis(ax, last)
    return fig


def plot_coverage(runs: Sequence[Run]) -> Figure:
    """Return accuracy on unseen pairs, a column for each modulus and number of samples.

    Columns are in the order of their share of the table.
    """
    fig, ax = plt.subplots()
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.config.name, []).append(run)
    columns = sorted(
        ((coverage(group), group[0].config.task, group) for group in groups.values()),
        key=itemgetter(0),
    )
    for x, (_, config, group) in enumerate(columns):
        apart = np.linspace(x - 0.12, x + 0.12, len(group))
        right = [outcome_accuracy(run, "unseen test") for run in group]
        color = plotting.PUBLISHED if config.p == max(MODULI) else plotting.OURS
        ax.plot(apart, right, "o", color=color, ms=7, alpha=0.8)
    labels = [
        f"modulo {config.p}\n{config.n_samples:,} samples\n{100 * share:.1f} % of the table"
        for share, config, _ in columns
    ]
    ax.set_xticks(range(len(labels)), labels)
    ax.set_xlim(-0.5, len(labels) - 0.5)
    ax.set_ylim(-0.03, 1.04)
    ax.grid(visible=False, axis="x")
    ax.set_ylabel("right answers, unseen test pairs")
    return fig


def plot_phases(runs: Sequence[Run]) -> Figure:
    """Return the median step at which the table was solved, by decay and share of the table."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 3.9))
    longest = STEADY.train.steps
    shown = np.full((len(DECAYS), len(FRACTIONS)), np.nan)
    for i, decay in enumerate(DECAYS):
        for j, fraction in enumerate(FRACTIONS):
            group = select(runs, f"phase-decay{decay:g}-train{fraction:g}")
            solved = [solved_at(run) for run in group]
            steps = sorted(step or np.inf for step in solved)
            known = sum(step is not None for step in solved)
            median = statistics.median(steps)
            is_known = np.isfinite(median)
            shown[i, j] = median if is_known else np.nan
            label = f"{median:,.0f}" if is_known else f"{final_accuracy(group):.1%} right"
            dark = is_known and median > 500
            ax.annotate(
                f"{label}\n{known}/{len(group)}", (j, i), ha="center", va="center", fontsize=9,
                color="white" if dark else "black",
            )  # fmt: skip
    image = ax.imshow(shown, cmap="viridis_r", aspect="auto", vmin=100, vmax=longest)
    bar = fig.colorbar(image, ax=ax, pad=0.02)
    bar.set_label("median step of solving")
    bar.outline.set_visible(False)
    ax.grid(visible=False)
    ax.set_xticks(range(len(FRACTIONS)), [f"{fraction:.0%}" for fraction in FRACTIONS])
    ax.set_yticks(range(len(DECAYS)), [f"{decay:g}" for decay in DECAYS])
    ax.set_xlabel("share of the table in the training set")
    ax.set_ylabel("weight decay")
    return fig


def plot_tuning(runs: Sequence[Run]) -> Figure:
    """Return for each method the final accuracy of its settings against the learning rate.

    A filled mark is a setting with which both seeds solved the table, with the mean step.
    """
    fig, axes = plt.subplots(4, 2, figsize=(plotting.WIDTH, 8.6), sharex=True, sharey=True)
    for ax, (name, method) in zip(axes.flat, METHODS.items(), strict=False):
        for value, color, above in zip(
            method.values, (plotting.OURS, plotting.PUBLISHED), (1.08, 1.24), strict=True
        ):
            groups = [tuning_runs(runs, name, lr, value) for lr in RATES]
            right, steps = (
                [final_accuracy(group) for group in groups],
                [mean_solving_step(group) for group in groups],
            )
            ax.plot(RATES, right, "o-", color=color, mfc="white", ms=4.5, lw=1.3)
            for lr, y, step in zip(RATES, right, steps, strict=True):
                if math.isfinite(step):
                    ax.plot(lr, y, "o", color=color, ms=4.5)
                    ax.annotate(f"{step:,.0f}", (lr, above), color=color, fontsize=8.5, ha="center")
            label = f"{method.parameter.replace('_', ' ')} {value:g}"
            y = 0.6 if color == plotting.OURS else 0.48
            ax.annotate(label, (0.97, y), xycoords="axes fraction", color=color, fontsize=8.5,
                        ha="right")  # fmt: skip
        ax.set_title(name, fontsize=9.5, pad=4)
        ax.set_xscale("log")
        ax.set_xlim(RATES[0] / 1.5, RATES[-1] * 1.5)
        ax.set_ylim(-0.04, 1.4)
        ax.set_yticks([0, 0.5, 1])
        ax.minorticks_off()
    axes[3, 1].axis("off")
    axes[2, 1].tick_params(labelbottom=True)
    fig.supxlabel("learning rate (log scale)", fontsize=10)
    fig.supylabel(
        "share of right answers after the last step; numbers: step of solving", fontsize=10
    )
    return fig


def plot_smallest(runs: Sequence[Run]) -> Figure:
    """Return test accuracy against the share of the table, with the median step of solving."""
    fig, ax = plt.subplots()
    for fraction in sorted({run.config.task.train_fraction for run in runs}):
        group = [run for run in runs if run.config.task.train_fraction == fraction]
        right = [outcome_accuracy(run, "test") for run in group]
        ax.plot([100 * fraction] * len(group), right, "o", color=VALIDATION, ms=6, alpha=0.7)
        known = [step for run in group if (step := solved_at(run))]
        label = f"{statistics.median(known):,.0f}" if len(known) == len(group) else "–"
        ax.annotate(label, (100 * fraction, 1.03), ha="center", color=REFERENCE, fontsize=8.5)
    plotting.level(ax, 1 / table(FAST).p, "a guess", x=0.99)
    ax.annotate("median step of solving:", (0.01, 1.03), xycoords=("axes fraction", "data"),
                color=REFERENCE, fontsize=8.5)  # fmt: skip
    ax.set_ylim(-0.02, 1.1)
    ax.set_xlim(0, None)
    ax.set_xlabel("share of the table in the training set, percent")
    ax.set_ylabel("right answers, test pairs")
    return fig


def plot_sentence(runs: Sequence[Run]) -> Figure:
    """Return the loss of the sentence on log axes, with its lower bound."""
    fig, ax = plt.subplots()
    config = runs[0].config
    floor = Sentence(config.task).floor(config.model.context_length)
    plotting.level(ax, floor, "no model can score less", above=False, x=0.01)
    steps, _ = plotting.curves(ax, runs, loss, label="loss", marker="o", ms=3)
    ax.set_yscale("log")
    ax.set_ylim(floor / 2, None)
    plotting.step_axis(ax, steps[-1], log=True)
    ax.set_ylabel("loss, nats per character (log scale)")
    return fig


def plot_inside(run: Run) -> Figure:
    """Return one run's accuracy, losses, weight norm, logit size and sparsity by step."""
    fig, axes = plt.subplots(4, 1, figsize=(plotting.WIDTH, 8.4), sharex=True)
    history, ours, other = run.outcome["history"], plotting.OURS, plotting.OTHER
    steps = np.maximum(history["step"], 0.9)
    last = draw_accuracy(axes[0], [run])
    axes[1].plot(steps, history["train"], color=TRAIN)
    axes[1].plot(steps, history["unseen"], color=VALIDATION)
    axes[1].plot(steps, history["restricted"], color=other)
    axes[1].plot(steps, history["excluded"], color=plotting.PUBLISHED)
    for name, color, y in (
        ("training pairs", TRAIN, 0.36), ("unseen pairs", VALIDATION, 0.25),
        ("restricted: key waves alone, all pairs", other, 0.14),
        ("excluded: key waves removed, training pairs", plotting.PUBLISHED, 0.03),
    ):  # fmt: skip
        axes[1].annotate(name, (0.02, y), xycoords="axes fraction", color=color, fontsize=8)
    axes[1].set_yscale("log")
    axes[1].set_ylabel("loss, nats (log)")
    at, norm = plotting.series(run, lambda record: record.get("weight_norm"))
    axes[2].plot(np.maximum(at, 0.9), norm, color=ours)
    axes[2].set_ylabel("norm of all weights")
    axes[2].set_ylim(0, None)
    size = axes[2].twinx()
    at, rms = plotting.series(run, logit_size)
    size.plot(np.maximum(at, 0.9), rms, color=other)
    size.set_ylabel("size of logits", color=other)
    size.set_ylim(0, None)
    size.grid(visible=False)
    axes[3].plot(steps, history["gini"], color=ours)
    axes[3].set_ylabel("Gini, embedding")
    axes[3].set_ylim(0, 1)
    plotting.step_axis(axes[3], last, log=True)
    return fig


def plot_spectrum(runs: Sequence[Run]) -> Figure:
    """Return the power of embedding and logits by frequency, and the purity of neurons."""
    fig, axes = plt.subplots(3, 1, figsize=(plotting.WIDTH, 6.6))
    claim = runs[0].outcome["probe"]["claim"]
    waves = np.arange(1, len(claim["share"]) + 1)
    for ax, name, label in ((axes[0], "embedding", "embedding"), (axes[1], "share", "logits")):
        is_key = np.isin(waves, claim["keys"])
        colors = np.where(is_key, plotting.OURS, plotting.REFERENCE)
        ax.bar(waves, claim[name], color=colors, width=0.8)
        ax.set_ylabel(f"share, {label}")
        ax.set_xlabel("frequency over logarithms" if ax is axes[1] else "")
    pure = np.mean([run.outcome["probe"]["claim"]["neurons"] for run in runs], axis=0)
    axes[2].bar(np.arange(10) / 10 + 0.05, pure, width=0.09, color=plotting.OURS)
    axes[2].set_xlabel("greatest share of a neuron's variance in one frequency")
    axes[2].set_ylabel("neurons")
    return fig


def plot_filling(run: Run, n: int = 5) -> Figure:
    """Return the table of right and wrong answers at n moments, in the order of logarithms."""
    history = run.outcome["history"]
    side = len(circuits.order_of(run.config.task))
    tables = [
        np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8))[: side * side]
        for bits in history["right"]
    ]
    shares = np.array([table.mean() for table in tables])
    aims = np.linspace(shares[0], shares[-1], n)
    places = sorted({int(np.abs(shares - aim).argmin()) for aim in aims})
    fig, axes = plt.subplots(1, len(places), figsize=(plotting.WIDTH, 1.9), sharey=True)
    for ax, place in zip(np.atleast_1d(axes), places, strict=True):
        ax.imshow(tables[place].reshape(side, side), cmap="Blues", vmin=0, vmax=1.3)
        ax.set_title(f"step {history['step'][place]:,}\n{shares[place]:.0%} right", fontsize=8.5)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(visible=False)
    np.atleast_1d(axes)[0].set_ylabel("log a")
    np.atleast_1d(axes)[len(places) // 2].set_xlabel("log b")
    return fig


def plot_attention(runs: Sequence[Run]) -> Figure:
    """Return how much each head attends to a, b and the operation, averaged over all pairs."""
    fig, axes = plt.subplots(1, len(runs), figsize=(plotting.WIDTH, 3.0), sharey=True)
    for ax, run in zip(np.atleast_1d(axes), runs, strict=True):
        attention = run.outcome["probe"]["attention"]
        ax.imshow(np.array(attention["mean"]), cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
        for head, (mean, std) in enumerate(zip(attention["mean"], attention["std"], strict=True)):
            for place in range(LENGTH):
                label = f"{mean[place]:.2f}\n±{std[place]:.2f}"
                ax.annotate(label, (place, head), ha="center", va="center", fontsize=7.5)
        ax.set_xticks(range(LENGTH), ["a", "b", "op"])
        ax.set_yticks(range(len(attention["mean"])), range(1, len(attention["mean"]) + 1))
        ax.set_title(f"seed {run.config.seed}", fontsize=9)
        ax.grid(visible=False)
    np.atleast_1d(axes)[0].set_ylabel("head")
    return fig

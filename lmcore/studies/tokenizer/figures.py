"""Figures of the tokenizer study."""

from collections.abc import Callable, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.studies.tokenizer.costs import lengths_and_sizes, median_s, setting_of
from lmcore.studies.tokenizer.measures import (
    PUBLISHED_SWEEP,
    corrected_sweep,
    coverage,
    excess,
    per_token,
    tokens_of,
)
from lmcore.studies.tokenizer.surveys import Row
from lmcore.studies.tokenizer.tables import LANGUAGES

COLORS = {
    "headlines": "#aa4499",
    "stories": "#117733",
    "novels": "#332288",
    "shakespeare": "#997700",
}
"""A colour of Paul Tol's muted palette for each English text."""


def size_axis(ax: Axes, sizes: Sequence[int]) -> None:
    """Make the x axis a log axis of vocabulary sizes."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, ha="right")
    ax.minorticks_off()
    ax.set_xlabel("entries in the vocabulary (log scale)")


def plot_compression(run: Run) -> Figure:
    """Return bytes per token against vocabulary size, held out and, dotted, of training text."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.4))
    for text in run.config.texts:
        rows = [row for row in run.records if row["text"] == text]
        sizes, color = [row["vocab_size"] for row in rows], COLORS[text]
        ax.plot(sizes, [per_token(r["held_out"]) for r in rows], "o-", ms=3.5, color=color)
        ax.plot(sizes, [per_token(r["learned"]) for r in rows], ":", lw=1.2, color=color)
        end = (sizes[-1], per_token(rows[-1]["held_out"]))
        # headlines and novels end close together; stories end where novels pass
        offset = {"headlines": (6, 2), "novels": (6, -10), "stories": (-14, 7)}.get(text, (6, -10))
        plotting.name_line(ax, end, text, color, offset)
    size_axis(ax, run.config.vocab_sizes)
    ax.set_xlim(ax.get_xlim()[0], run.config.vocab_sizes[-1] * 3)
    ax.set_ylim(0, None)
    ax.set_ylabel("bytes per token")
    return fig


def plot_sample(run: Run) -> Figure:
    """Return the extra tokens of held-out text if the tokenizer learned from less text."""
    fig, axes = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.4), sharey=True)
    for ax, text in zip(axes, run.config.texts, strict=True):
        for style, size in zip(("o-", "s--"), run.config.vocab_sizes, strict=True):
            key = {"text": text, "vocab_size": size}
            rows = [row for row in run.records if row | key == row]
            tokens = np.array([row["held_out"]["tokens"] for row in rows])
            learned, more = [row["learned_bytes"] for row in rows], 100 * (tokens / tokens[-1] - 1)
            ax.plot(learned, more, style, ms=3.5, color=COLORS[text])
            start = (learned[0], more[0])
            plotting.name_line(ax, start, f"{size:,} entries", COLORS[text], (5, 4))
        ax.set_title(text)
        ax.set_xscale("log")
        ax.set_xlabel("bytes learned from (log scale)")
    axes[0].set_ylabel("more tokens than with all of it, %")
    axes[0].set_ylim(0, None)
    return fig


def plot_domains(run: Run) -> Figure:
    """Return a matrix of the extra tokens that a text needs with another text's tokenizer."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.0))
    texts, more = run.config.texts, 100 * excess(run)
    ax.imshow(more, cmap="Blues", vmin=0, vmax=1.6 * max(more.max(), 1))
    for i, j in np.ndindex(more.shape):
        ax.text(j, i, "own" if i == j else f"{more[i, j]:+.0f} %", ha="center", va="center")
    places = range(len(texts))
    ax.set_xticks(places, texts)
    ax.set_yticks(places, texts)
    ax.set_xlabel("encoded text, its held-out part")
    ax.set_ylabel("tokenizer learned from")
    ax.grid(visible=False)
    return fig


def plot_alphabets(run: Run) -> Figure:
    """Return tokens per character by vocabulary size, over bytes and over characters."""
    fig, axes = plt.subplots(2, 3, figsize=(plotting.WIDTH, 5.2), sharex=True, sharey=True)
    kinds = {
        "byte_tokens": ("bytes", "o-", plotting.OURS),
        "character_tokens": ("characters, dashed", "s--", plotting.OTHER),
    }
    for ax, text in zip(axes.flat, run.config.texts, strict=False):
        rows = sorted(
            (row for row in run.records if row["text"] == text), key=lambda row: row["vocab_size"]
        )
        for key, (_, style, color) in kinds.items():
            tokens = [row[key] / row["characters"] for row in rows]
            ax.plot([row["vocab_size"] for row in rows], tokens, style, ms=3.5, color=color)
        ax.set_title(LANGUAGES[text])
        ax.set_xscale("log", base=2)
        sizes = run.config.vocab_sizes[::2]
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, ha="right")
    axes[0, 2].tick_params(labelbottom=True)  # nothing stands below it
    for ax in axes[:, 0]:
        ax.set_ylabel("tokens per character")
    axes[0, 0].set_ylim(0, None)
    axes[1, 2].axis("off")
    for i, (name, _, color) in enumerate(kinds.values()):
        place = (0, 0.7 - 0.16 * i)
        axes[1, 2].text(*place, f"BPE over {name}", color=color, transform=axes[1, 2].transAxes)
    fig.supxlabel("entries in the vocabulary (log scale)", fontsize=10)
    return fig


SPANS = {(64, 128): plotting.OURS, (64, 256): plotting.OTHER, (256, 256): plotting.REFERENCE}
"""A colour for each setting of the evaluator: rows and tokens a row."""


def plot_evaluator(run: Run) -> Figure:
    """Return what the evaluator covers by vocabulary size, and a public sweep before and after."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.6))
    tokens = tokens_of(run)
    for span, color in SPANS.items():
        shares = [100 * coverage(n, *span) for n in tokens.values()]
        left.plot(list(tokens), shares, "o-", ms=3.5, color=color)
        name = f"{span[0]} rows of {span[1]}"
        offset = {(64, 128): (0, 7), (64, 256): (0, -30)}.get(span, (0, -17))
        plotting.name_line(left, (list(tokens)[-1], shares[-1]), name, color, offset, ha="right")
    left.set_ylim(0, 108)
    left.set_ylabel("tokens that are scored, %")
    if set(PUBLISHED_SWEEP) <= set(tokens):
        corrected = corrected_sweep(run)
        sizes = list(PUBLISHED_SWEEP)
        right.plot(sizes, list(PUBLISHED_SWEEP.values()), "D-", ms=5, color=plotting.PUBLISHED)
        right.plot(sizes, list(corrected.values()), "o-", ms=4, color=plotting.OURS)
        for values, color, name, offset in (
            (PUBLISHED_SWEEP, plotting.PUBLISHED, "as reported", (0, -14)),
            (corrected, plotting.OURS, "every token, about", (0, 7)),
        ):
            end = (sizes[-1], values[sizes[-1]])
            plotting.name_line(right, end, name, color, offset, "right")
        right.margins(y=0.2)
    right.set_ylabel("nats per character")
    for ax, sizes in ((left, list(tokens)[::3]), (right, list(PUBLISHED_SWEEP))):
        ax.set_xscale("log", base=2)
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45, ha="right")
        ax.minorticks_off()
    fig.supxlabel("entries in the vocabulary (log scale)", fontsize=10)
    return fig


def plot_contest(rows: Sequence[Row], rate: Callable[[Row], float], label: str) -> Figure:
    """Return each contender's rate, which label names, and memory for each setting."""
    settings = list(dict.fromkeys(setting_of(row) for row in rows))
    fig, axes = plt.subplots(
        1, 2, figsize=(plotting.WIDTH, 1.3 + 0.42 * len(settings)), sharey=True
    )
    values = (rate, lambda row: row["peak_bytes"] / 1e6)
    for ax, value, name in zip(axes, values, (label, "peak MB"), strict=True):
        for row in rows:
            style = CONTENDERS[row["contender"]]
            ax.plot(value(row), settings.index(setting_of(row)), ms=6, ls="", **style)
        ax.set_xscale("log")
        ax.set_xlabel(f"{name} (log scale)")
        ax.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 3)))
        ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes[0].set_yticks(range(len(settings)), settings)
    axes[0].set_ylim(len(settings) - 0.5, -0.5)
    names = {row["contender"]: CONTENDERS[row["contender"]] for row in rows}
    handles = [plt.Line2D([], [], ls="", ms=6, label=name, **names[name]) for name in names]
    title = {"title": runs_of(rows), "title_fontsize": 9}
    fig.legend(handles=handles, loc="outside upper center", ncols=len(names), fontsize=9, **title)
    return fig


CONTENDERS = {
    "lmcore": {"marker": "o", "color": plotting.OURS},
    "tokenizers": {"marker": "s", "color": plotting.REFERENCE, "mfc": "none"},
    "rustbpe": {"marker": "^", "color": plotting.REFERENCE},
    "tiktoken": {"marker": "D", "color": plotting.REFERENCE},
}


def runs_of(rows: Sequence[Row]) -> str:
    """Return a sentence on the number of runs for each point."""
    n = min(len(row["seconds"]) for row in rows)
    return "each point is one run" if n == 1 else f"each point is the median of {n} runs"


def plot_scaling(rows: Sequence[Row]) -> Figure:
    """Return time and memory against the text and against entries, on log axes."""
    fig, axes = plt.subplots(2, 2, figsize=(plotting.WIDTH, 5.4), sharex="col", sharey="row")
    training, by_size = lengths_and_sizes(rows)
    encoding = [row for row in rows if row["kind"] == "encoding"]
    lines = [
        (0, "bytes", training, plotting.OURS, "training"),
        (0, "bytes", encoding, plotting.OTHER, "encoding to a file"),
        (1, "size", by_size, plotting.OURS, "training"),
    ]
    for column, key, some, color, name in lines:
        x = [row[key] for row in some]
        times, peaks = [median_s(row) for row in some], [row["peak_bytes"] / 1e6 for row in some]
        axes[0, column].plot(x, times, "o-", ms=3.5, color=color)
        axes[1, column].plot(x, peaks, "o-", ms=3.5, color=color)
        if some is encoding:
            plotting.name_line(axes[0, column], (x[-1], times[-1]), name, color, (0, 8), "right")
        else:
            plotting.name_line(axes[0, column], (x[0], times[0]), name, color, (0, -16))
    for ax, some, key in ((axes[0, 0], training, "bytes"), (axes[0, 1], by_size, "size")):
        ends = np.array([min(row[key] for row in some), max(row[key] for row in some)])
        style = {"ls": (0, (4, 3)), "lw": 1, "color": plotting.REFERENCE}
        ax.plot(ends, median_s(some[-1]) * ends / ends[1], **style)
    times = [median_s(row) for row in rows]
    axes[0, 0].set_ylim(min(times) / 2, 2 * max(times))
    for ax in axes.flat:
        ax.set_xscale("log")
    axes[0, 0].set_yscale("log")
    axes[1, 0].set_ylim(0, None)
    axes[0, 0].set_ylabel("seconds (log scale)")
    axes[1, 0].set_ylabel("peak memory, MB")
    axes[1, 0].set_xlabel("bytes of text (log scale)")
    axes[1, 1].set_xlabel("entries in the vocabulary (log scale)")
    fig.suptitle(runs_of(rows), fontsize=9)
    return fig

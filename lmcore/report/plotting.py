"""One style and a few charts: a colour has one meaning throughout, and lines carry their names.

The same runs give the same bytes: files have no dates and no random ids, and text stays text.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import matplotlib.colors
import matplotlib.pyplot as plt
import matplotlib.ticker
import numpy as np
from matplotlib import colors, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmcore.config import config_hash
from lmcore.experiments.run_folder import Run
from lmcore.files import write_json
from lmcore.report.text import in_figure, visible

OURS, PUBLISHED, REFERENCE, OTHER = "#0072b2", "#d55e00", "#5f6368", "#009e73"
"""Okabe and Ito's palette: our runs, published figures, references, a second quantity of ours."""
PALETTE = (OURS, PUBLISHED, OTHER, "#cc79a7", "#e69f00", "#56b4e9", REFERENCE)
"""Colours of lines that have no meaning of their own; they repeat after the last."""
WIDTH = 6.4
METADATA = {"Date": None, "Creator": "lmcore"}
"""No date and no version, which would change the file of an unchanged figure."""

STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 10,
    "axes.axisbelow": True,
    "figure.figsize": (WIDTH, 3.7),
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 10,
    "grid.color": "#e4e6ea",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "lmcore",
    "xtick.color": "#3c4043",
    "ytick.color": "#3c4043",
}


def use_style() -> None:
    """Set the house style for all later figures."""
    mpl.rcParams.update(cast(Any, STYLE))


Quantity = Callable[[dict[str, Any]], float | None]


def series(run: Run, value: Quantity) -> tuple[np.ndarray, np.ndarray]:
    """Return (steps, values) of the records of run whose value is not None."""
    pairs = [(record["step"], value(record)) for record in run.records]
    steps, values = zip(*[pair for pair in pairs if pair[1] is not None], strict=True)
    return np.array(steps), np.array(values)


def curves(
    ax: Axes, runs: Sequence[Run], value: Quantity, *, label: str, color: str = OURS, **line: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the mean of value over runs against steps, with a band from least to greatest.

    Returns (steps, mean), so that a caller can put a label at the end of the line.
    """
    lines = [series(run, value) for run in runs]
    steps, values = lines[0][0], np.stack([values for _, values in lines])
    mean = values.mean(0)
    ax.fill_between(steps, values.min(0), values.max(0), color=color, alpha=0.25, lw=0)
    ax.plot(steps, mean, color=color, label=label, **line)
    return steps, mean


def validation_curves(runs: Sequence[Run], labels: Sequence[str]) -> Figure:
    """Return a figure of the validation loss of each run against steps, with its label.

    It is in bits per byte, which can be compared across tokenizers, where all runs have them.

    Raises:
        ValueError: a run has no validation score yet; the message names it.
    """
    scores = [[r["validation"] for r in run.records if "validation" in r] for run in runs]
    for label, of_run in zip(labels, scores, strict=True):
        if not of_run:
            raise ValueError(f"{label} has no validation score yet: leave it out of the plot")
    in_bytes = all(hasattr(score, "bpb") for of_run in scores for score in of_run)

    def loss(record: dict[str, Any]) -> float | None:
        score = record.get("validation")
        return None if score is None else score.bpb if in_bytes else score.loss

    fig, ax = plt.subplots()
    for number, (run, label) in enumerate(zip(runs, labels, strict=True)):
        curves(ax, [run], loss, label=label, color=PALETTE[number % len(PALETTE)])
    step_axis(ax, max(run.records[-1]["step"] for run in runs) or 1)
    ax.set_ylabel("validation loss, bits/byte" if in_bytes else "validation loss, nats")
    name_ends(ax)
    return fig


def level(ax: Axes, value: float, label: str, *, above: bool = True, x: float = 0.99) -> None:
    """Draw a dashed reference line across the axes, with its name on it."""
    ax.axhline(value, color=REFERENCE, lw=1, ls=(0, (4, 3)), zorder=1)
    ax.annotate(
        label, (x, value), xycoords=("axes fraction", "data"), xytext=(0, 3 if above else -3),
        textcoords="offset points", ha="right" if x > 0.5 else "left",
        va="bottom" if above else "top", color=REFERENCE, fontsize=9,
    )  # fmt: skip


def name_line(
    ax: Axes,
    xy: tuple[float, float],
    text: str,
    color: str,
    offset: tuple[float, float] = (0, 6),
    ha: str = "left",
) -> None:
    """Write text in color next to the point xy, with an offset in points."""
    ax.annotate(text, xy, xytext=offset, textcoords="offset points", color=color, fontsize=9, ha=ha)


def name_ends(ax: Axes, gap: float = 11.0) -> None:
    """Write the label of each line next to its last point, labels at least gap points apart.

    Call it last, once limits are set and everything else is drawn.
    """
    cast(Figure, ax.figure).draw_without_rendering()
    lines = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
    ends = [tuple(map(float, np.asarray(line.get_xydata())[-1])) for line in lines]
    heights = ax.transData.transform(ends)[:, 1] * 72 / ax.figure.dpi
    order = np.argsort(heights)
    apart = gap * np.arange(len(lines))
    places = np.maximum.accumulate(heights[order] - apart) + apart
    places -= (places - heights[order]).mean()
    for number, place in zip(order, places, strict=True):
        offset = (6.0, float(place - heights[number]) - 3)
        line, color = lines[number], colors.to_hex(lines[number].get_color())
        name_line(ax, cast(Any, ends[number]), str(line.get_label()), color, offset)


def step_axis(ax: Axes, last: int, *, log: bool = False) -> None:
    """Show optimizer steps up to last on the x axis; a log axis begins at step 1."""
    if log:
        ax.set_xscale("log", nonpositive="mask")
    ax.set_xlim(0.9 if log else -0.01 * last, last * (1.1 if log else 1.01))
    ax.set_xlabel("optimizer step (log scale)" if log else "optimizer step")
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))


def shown(token: str) -> str:
    """Return a token's text for a figure, with visible blanks and line ends."""
    return in_figure(visible(token).replace(" ", "␣")) or "(empty)"


def file_hash(path: Path) -> str:
    """Return a short hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def save(fig: Figure, label: str, runs: Sequence[Run] = (), files: Sequence[Path] = ()) -> Figure:
    """Write fig as <label>.svg, record its sources in manifest.json, and return it.

    Figures of full runs go to figures/, of smoke runs to .smoke/figures. Sources are runs, and
    files of other measurements in the repository.

    Raises:
        ValueError: runs come from different results folders, so a figure would mix scales.
    """
    roots = {run.folder.parents[2] for run in runs}
    if len(roots) != 1:
        raise ValueError(f"{label} needs runs of one scale, not of {len(roots)} results folders")
    folder = roots.pop().parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    fig.savefig(folder / f"{label}.svg", metadata=METADATA)
    manifest = folder / "manifest.json"
    known = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    known[label] = {
        "study": runs[0].config.study,
        "runs": {str(run.config.path.as_posix()): config_hash(run.config) for run in runs},
        "text_sha256": sorted({run.environment["data"]["text_sha256"] for run in runs}),
    }
    if files:
        known[label]["files"] = {
            path.relative_to(folder.parent).as_posix(): file_hash(path) for path in files
        }
    write_json(manifest, dict(sorted(known.items())))
    plt.close(fig)
    return fig

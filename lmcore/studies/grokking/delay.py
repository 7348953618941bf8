"""How much later unseen pairs are solved than trained ones."""

import math
import statistics
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import Table, select
from lmcore.studies.grokking.experiments import DELAY_METHODS, DELAY_SHARES, delay_name
from lmcore.studies.grokking.measures import solved_at


def delay(run: Run) -> float | None:
    """Return how many times later than its training pairs a run solved unseen ones, if it did.

    Both count from the first of ACCURATE_EVALUATIONS evaluations in a row with 99 % right.
    """
    memorised, solved = solved_at(run, name="train"), solved_at(run)
    return solved / memorised if memorised and solved else None


def median_and_range(values: Sequence[int | float | None], digits: int = 0) -> str:
    """Return the median and the range of the known values, and how many are known if not all.

    Unknown values count as greater than all others; a median that is one of them is shown as –.
    """
    known = sorted(value for value in values if value is not None)
    if not known:
        return f"none of {len(values)}"
    middle = statistics.median_low([*known, *[math.inf] * (len(values) - len(known))])
    shown = f"{middle:,.{digits}f}" if math.isfinite(middle) else "–"
    text = f"{shown} ({known[0]:,.{digits}f}–{known[-1]:,.{digits}f})"
    return text if len(known) == len(values) else f"{text}, {len(known)} of {len(values)}"


def delay_table(runs: Sequence[Run]) -> Table:
    """Return the steps to trained and to unseen pairs and their ratio, a row for each cell."""
    rows = []
    for head, optimizer in DELAY_METHODS:
        for share in DELAY_SHARES:
            group = select(runs, delay_name(head, optimizer, share))
            if not group:
                continue
            rows.append(
                (
                    head,
                    optimizer,
                    f"{share:.0%}",
                    str(len(group)),
                    median_and_range([solved_at(run, name="train") for run in group]),
                    median_and_range([solved_at(run) for run in group]),
                    median_and_range([delay(run) for run in group], 1),
                )
            )
    header = (
        "head",
        "optimizer",
        "of the table",
        "seeds",
        "trained pairs",
        "unseen pairs",
        "delay",
    )
    return Table(header, tuple(rows))


def plot_delay(runs: Sequence[Run]) -> Figure:
    """Return the delay against the share of the table, a panel each head, a line each optimizer.

    Lines join medians where most seeds solved the table; a cross on top is a seed that did not.
    """
    fig, axes = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.4), sharex=True, sharey=True)
    known = [x for run in runs if (x := delay(run))]
    top = 2 * max(known, default=1.0)
    shares = 100 * np.array(DELAY_SHARES)
    for ax, head in zip(axes, ("plain", "cosine"), strict=True):
        for optimizer, color, y in zip(
            ("AdamW", "Muon"), (plotting.PUBLISHED, plotting.OURS), (0.88, 0.78), strict=True
        ):
            cells = [select(runs, delay_name(head, optimizer, share)) for share in DELAY_SHARES]
            ratios = [[delay(run) for run in cell] for cell in cells]
            for x, cell in zip(shares, ratios, strict=True):
                aside = x + (0.6 if optimizer == "Muon" else -0.6)
                solved = [ratio for ratio in cell if ratio]
                ax.plot([aside] * len(solved), solved, "o", color=color, ms=4, alpha=0.6)
                missing = len(cell) - len(solved)
                ax.plot(aside + 0.5 * np.arange(missing), [top] * missing, "x", color=color, ms=5)
            middle = [
                statistics.median_low([r or math.inf for r in cell or [None]]) for cell in ratios
            ]
            ax.plot(shares, [m if math.isfinite(m) else math.nan for m in middle], color=color)
            ax.annotate(optimizer, (0.97, y), xycoords="axes fraction", color=color, ha="right")
        ax.set_title(f"{head} head")
        ax.set_yscale("log")
        ax.set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
        ax.minorticks_off()
        ax.set_xticks(shares, [f"{share:.0f} %" for share in shares])
        ax.set_xlabel("share of the table trained on")
    axes[0].set_ylabel("steps to unseen pairs / trained pairs (log)")
    return fig

"""Curves as plain numbers, for the page that lets a reader touch them (docs/widgets/curves.mjs)."""

from collections.abc import Mapping, Sequence
from typing import Any

from lmcore.experiments.run_folder import Run
from lmcore.report.plotting import Quantity

DIGITS = 4
"""Digits after the point of values; a screen shows fewer."""


def web_curves(
    groups: Mapping[str, Sequence[Run]], colors: Mapping[str, str], value: Quantity, label: str
) -> dict[str, Any]:
    """Return value over each run of each group, with what a reader needs to find the run.

    label names the value and its unit. A point has its step, tokens seen and seconds of training.
    """
    return {
        "label": label,
        "groups": [
            {"name": name, "color": colors[name], "runs": [_curve(run, value) for run in runs]}
            for name, runs in groups.items()
        ],
    }


def _curve(run: Run, value: Quantity) -> dict[str, Any]:
    """Return the points of one run."""
    points = [(record, value(record)) for record in run.records]
    points = [(record, y) for record, y in points if y is not None]
    config = run.config
    return {
        "run": f"{config.study}/{config.name}/seed{config.seed}",
        "seed": config.seed,
        "commit": run.environment["sessions"][-1]["commit"][:7],
        "steps": [record["step"] for record, _ in points],
        "tokens": [record["tokens"] for record, _ in points],
        "seconds": [record["elapsed_s"] for record, _ in points],
        "values": [round(y, DIGITS) for _, y in points],
    }

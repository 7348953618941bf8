"""The leaderboard of races: median and tail over seeds."""

import math
from collections.abc import Sequence

import numpy as np

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Table, number

QUANTILES = (0.1, 0.5, 0.9, 0.99)


def solving_steps(run: Run) -> np.ndarray:
    """Return each seed's step, infinite where it did not solve its table, in rising order."""
    steps = [math.inf if r["solved"] is None else r["solved"] for r in run.records]
    return np.sort(np.array(steps, dtype=float))


def quantile(run: Run, share: float) -> float:
    """Return the step by which at least this share of the seeds had solved their table."""
    steps = solving_steps(run)
    return float(steps[max(0, math.ceil(share * len(steps)) - 1)])


def leaderboard(runs: Sequence[Run]) -> Table:
    """Return a row for each race: how many solved, quantiles of the step, cost of a seed."""
    header = ("race", "share", "modulus", "solved", *(f"{q:.0%} by step" for q in QUANTILES))
    rows = []
    for run in runs:
        task = run.config.experiment.task
        solved = sum(record["solved"] is not None for record in run.records)
        cpu_s = float(np.median([record["cpu_s"] for record in run.records]))
        rows.append(
            (
                run.config.experiment.name,
                number(task.train_fraction, ".0%"),
                number(task.p),
                f"{solved} of {len(run.records)}",
                *(step_cell(quantile(run, q)) for q in QUANTILES),
                number(cpu_s, ".1f"),
            )
        )
    return Table((*header, "CPU s a seed, median"), tuple(rows))


def step_cell(step: float) -> str:
    """Return a step as a cell; a share of the seeds that was never reached is a dash."""
    return number(int(step)) if math.isfinite(step) else "–"

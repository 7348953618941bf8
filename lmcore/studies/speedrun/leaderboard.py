"""The leaderboard of races: median and tail over seeds, with a spread from resampling them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Table, number
from lmcore.studies.speedrun.experiments import HEAT, PRIMES, RULES

QUANTILES = (0.5, 0.9, 0.99)
LEAST = HEAT
"""Seeds that a race needs for a place on the leaderboard."""
N_RESAMPLED = 2_000


def races(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the heats of each race by its name, in the order of their first seeds."""
    names = dict.fromkeys(run.config.name for run in runs)
    heats = sorted(runs, key=lambda run: run.config.seed)
    return {name: [run for run in heats if run.config.name == name] for name in names}


def lines(heats: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the line of each seed of a race."""
    return [record for run in heats for record in run.records]


def solving_steps(heats: Sequence[Run]) -> Float[np.ndarray, "n"]:
    """Return each seed's step, infinite where it did not solve its table, in rising order."""
    steps = [math.inf if r["solved"] is None else r["solved"] for r in lines(heats)]
    return np.sort(np.array(steps, dtype=float))


def quantile(heats: Sequence[Run], share: float) -> float:
    """Return the step by which at least this share of the seeds had solved their table."""
    return float(_quantile(solving_steps(heats), share))


def _quantile(
    steps: Float[np.ndarray, "*drawn n"], share: float
) -> Float[np.ndarray, "*drawn"] | np.float64:
    """Return the quantile of rising steps, for each sample that was drawn."""
    return steps[..., max(0, math.ceil(share * steps.shape[-1]) - 1)]


def median_interval(heats: Sequence[Run]) -> tuple[float, float]:
    """Return the middle 95 % of medians when the seeds are drawn again with replacement."""
    steps = solving_steps(heats)
    drawn = np.random.default_rng(0).choice(steps, (N_RESAMPLED, len(steps)))
    medians = np.sort(np.asarray(_quantile(np.sort(drawn), 0.5)))
    return float(_quantile(medians, 0.025)), float(_quantile(medians, 0.975))


def solved(heats: Sequence[Run]) -> str:
    """Return how many seeds of a race solved their table, of how many."""
    steps = solving_steps(heats)
    return f"{int(np.isfinite(steps).sum())} of {len(steps)}"


def leaderboard(runs: Sequence[Run]) -> Table:
    """Return a row for each race with enough seeds, the lowest median step first."""
    ranked = sorted(
        (heats for heats in races(runs).values() if len(lines(heats)) >= LEAST),
        key=lambda heats: (quantile(heats, 0.5), quantile(heats, 0.9)),
    )
    rows = []
    for place, heats in enumerate(ranked, 1):
        task = heats[0].config.experiment.task
        middle = quantile(heats, 0.5)
        epochs = [r["epochs"] for r in lines(heats) if r["solved"] == middle]
        rows.append(
            (
                str(place),
                heats[0].config.experiment.name,
                number(task.train_fraction, ".0%"),
                solved(heats),
                *(step_cell(quantile(heats, q)) for q in QUANTILES),
                "–".join(step_cell(step) for step in median_interval(heats)),
                number(epochs[0], ".0f") if epochs else "–",
                number(float(np.median([r["cpu_s"] for r in lines(heats)])), ".1f"),
            )
        )
    header = (
        "", "recipe", "of the table", "solved", "median step", "90 % by", "99 % by",
        "median, 95 % of resamples", "median epoch", "CPU s a seed, median",
    )  # fmt: skip
    return Table(header, tuple(rows))


def prime_table(runs: Sequence[Run]) -> Table:
    """Return a row for each modulus: pairs in training and what each recipe made of them."""
    by_cell = {
        (heats[0].config.experiment.name, heats[0].config.experiment.task.p): heats
        for heats in races(runs).values()
    }
    names = dict.fromkeys(name for name, _ in by_cell)
    rows = []
    for p in sorted({p for _, p in by_cell}):
        cells = [by_cell.get((name, p)) for name in names]
        rows.append((str(p), number(p * (p - 1) // 2), *(prime_cell(heats) for heats in cells)))
    return Table(("modulus", "pairs in training", *names), tuple(rows))


def prime_cell(heats: Sequence[Run] | None) -> str:
    """Return the median step and how many seeds solved their table, as a cell."""
    return f"{step_cell(quantile(heats, 0.5))} ({solved(heats)})" if heats else "not run"


def written_leaderboard(runs: Sequence[Run]) -> str:
    """Return the rules, the leaderboard and the table of primes as Markdown for a page."""
    rules = "\n".join(f"{place}. {rule}" for place, rule in enumerate(RULES, 1))
    modulo_97 = [run for run in runs if "-share" in run.config.name]
    across = [run for run in runs if "-share" not in run.config.name]
    board, tables = leaderboard(modulo_97), []
    if board.rows:
        tables.append(f"Modulo 97:\n\n{board.markdown()}")
    else:
        tables.append(f"No recipe has {LEAST} seeds yet, so the leaderboard is empty.")
    if across:
        tables.append(f"Half of the table modulo each prime:\n\n{prime_table(across).markdown()}")
    n = len({run.config.experiment.task.p for run in across})
    missing = f"{n} of {len(PRIMES)} primes from {PRIMES[0]} to {PRIMES[-1]} have been run."
    return "\n\n".join([rules, *tables, missing])


def step_cell(step: float) -> str:
    """Return a step as a cell; a share of the seeds that was never reached is a dash."""
    return number(int(step)) if math.isfinite(step) else "–"

"""What is read from runs of the named experiments: at equal steps, equal time, and by size."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lmcore.experiments.run_folder import Run
from lmcore.report.comparison import at_cost, bits_per_byte, power_law
from lmcore.report.tables import select
from lmcore.studies.named.experiments import VOCAB_SIZES, scaled_name

WIDTHS = ("embd_small", "baseline", "embd_large", "embd_xlarge")
"""Experiments that differ in d_model alone, from narrow to wide."""
VOCABULARIES = ("vocab_small", "vocab_medium", "baseline")
"""Experiments that differ in the vocabulary alone, from small to large."""
PART = "eighth"


def of(runs: Sequence[Run], name: str, part: str = PART) -> list[Run]:
    """Return the runs of a part of an experiment."""
    return select(runs, scaled_name(name, part))


def flops(run: Run) -> int:
    """Return the operations of all steps of a run."""
    return run.records[-1]["tokens"] * run.config.model.flops_per_token


def flops_per_step(run: Run) -> int:
    """Return the operations of a step of a run."""
    plan = run.config.train
    return plan.batch_size * run.config.model.context_length * run.config.model.flops_per_token


def cpu_per_step(run: Run) -> float:
    """Return the processor's seconds of a run for each step, with evaluations, on one thread.

    On a machine that is shared, the time on the clock says nothing about a run.
    """
    return run.environment["cpu_s"] / run.records[-1]["step"]


def at_equal_time(runs: Sequence[Run], name: str, budget_s: float) -> list[float]:
    """Return the bits per byte of each seed after so many seconds of a processor."""
    own = of(runs, name)
    seconds = float(np.mean([cpu_per_step(run) for run in own])) if own else math.nan
    return [at_cost(run, seconds, budget_s) for run in own]


def common_budget(runs: Sequence[Run], names: Sequence[str]) -> float:
    """Return the seconds that the cheapest of these experiments takes for its whole run."""
    totals = [
        np.mean([cpu_per_step(run) * run.records[-1]["step"] for run in of(runs, name)])
        for name in names
        if of(runs, name)
    ]
    return float(min(totals))


def width_law(runs: Sequence[Run]) -> tuple[list[int], list[list[float]], float, float]:
    """Return d_model, bits per byte of each seed, and the power law's exponent with its error."""
    groups = [of(runs, name) for name in WIDTHS if of(runs, name)]
    widths = [group[0].config.model.d_model for group in groups]
    losses = [[bits_per_byte(run) for run in group] for group in groups]
    sizes = [width for width, values in zip(widths, losses, strict=True) for _ in values]
    law = power_law(sizes, [value for values in losses for value in values])
    return widths, losses, law.exponent, law.exponent_error


def rule_of_thumb(vocab_size: int) -> float:
    """Return the embedding size that the rule vocabulary ** 0.25 gives."""
    return vocab_size**0.25


def rule_rows(sizes: Mapping[str, int] = VOCAB_SIZES) -> list[tuple[str, int, float]]:
    """Return each published vocabulary with what the rule of thumb gives for it."""
    return [(name, size, rule_of_thumb(size)) for name, size in sizes.items()]

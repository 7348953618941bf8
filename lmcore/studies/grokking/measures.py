"""Numbers read from runs: accuracy, the step at which a table is solved, best settings."""

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import mean_sd, select
from lmcore.studies.grokking.experiments import METHODS, RATES, SOLVED
from lmcore.training.early_stopping import ACCURATE_EVALUATIONS

APART = 0.5
"""How far apart shares of right answers are two groups, of which no mean is taken."""


def accuracy(record: dict[str, Any], name: str = "validation") -> float | None:
    """Return the share of right answers in the set called name, where it was scored."""
    score = record.get(name)
    return score and score.accuracy


def loss(record: dict[str, Any], name: str = "validation") -> float | None:
    """Return nats per answer in the set called name, where it was scored."""
    score = record.get(name)
    return score and score.loss


def logit_size(record: dict[str, Any]) -> float | None:
    """Return the root mean square of the logits on the training set, if it was scored."""
    score = record.get("train")
    return score and score.logit_rms


def solved_at(run: Run, level: float = SOLVED, name: str = "validation") -> int | None:
    """Return the step from which accuracy held at level for ACCURATE_EVALUATIONS, if it did."""
    scored = [record for record in run.records if name in record]
    good = [accuracy(record, name) >= level for record in scored]
    starts = range(len(good) - ACCURATE_EVALUATIONS + 1)
    first = next(
        (start for start in starts if all(good[start : start + ACCURATE_EVALUATIONS])), None
    )
    return None if first is None else scored[first]["step"]


def first_step_at(run: Run, level: float, name: str) -> int | None:
    """Return the first scored step at which accuracy reached level."""
    steps, values = plotting.series(run, lambda record: accuracy(record, name))
    return next((int(s) for s, v in zip(steps, values, strict=True) if v >= level), None)


def percent(values: Sequence[float | None]) -> str:
    """Return mean ± standard deviation of shares in percent, as `mean_sd` does."""
    return mean_sd([None if value is None else 100 * value for value in values], 1, " %")


def percent_by_group(values: Sequence[float | None]) -> str:
    """Return shares as `percent` does, or as two groups of seeds where half the scale is between.

    A mean of seeds that solved a table and seeds that did not describes neither.
    """
    known = sorted((value for value in values if value is not None), reverse=True)
    gaps = [high - low for high, low in itertools.pairwise(known)]
    if max(gaps, default=0.0) < APART:
        return percent(values)
    split = gaps.index(max(gaps)) + 1
    high, low = (_range_in_percent(group) for group in (known[:split], known[split:]))
    return f"{split} of {len(values)} seeds {high}, others {low}"


def _range_in_percent(values: Sequence[float]) -> str:
    """Return the least and the greatest of some shares in percent."""
    ends = dict.fromkeys(f"{100 * value:.1f}" for value in (min(values), max(values)))
    return f"{'–'.join(ends)} %"


def outcome_accuracy(run: Run, name: str) -> float | None:
    """Return the accuracy on a set that is scored after training, or None if the run diverged."""
    score = run.outcome.get(name)
    return score and score.accuracy


def coverage(runs: Sequence[Run]) -> float:
    """Return the mean share of the table in the training set."""
    return statistics.fmean(run.environment["data"]["coverage"] for run in runs)


def seconds_to(run: Run, step: int | None) -> float | None:
    """Return the seconds of training until a scored step."""
    return next((r["elapsed_s"] for r in run.records if r["step"] == step), None)


def mean_solving_step(runs: Sequence[Run]) -> float:
    """Return the mean step at which runs solved their tables; infinite if one did not."""
    return statistics.fmean(solved_at(run) or math.inf for run in runs)


def final_accuracy(runs: Sequence[Run]) -> float:
    """Return the mean validation accuracy after the last step; a diverged run counts as zero."""
    return statistics.fmean(accuracy(run.records[-1]) or 0 for run in runs)


def tuning_runs(runs: Sequence[Run], name: str, lr: float, value: float) -> list[Run]:
    """Return the tuning runs of a method with a learning rate and a value of its parameter."""
    return select(runs, f"tune-{slug(name)}-lr{lr:g}-{value:g}")


def best_setting(runs: Sequence[Run], name: str) -> tuple[float, float]:
    """Return the learning rate and parameter with which a method solved its table first.

    If no setting did on every seed, it is the one with the highest final accuracy.
    """

    def rank(setting: tuple[float, float]) -> tuple[float, float]:
        group = tuning_runs(runs, name, *setting)
        return mean_solving_step(group), -final_accuracy(group)

    return min(((lr, value) for lr in RATES for value in METHODS[name].values), key=rank)

"""Numbers read from runs on headlines: losses, paired by seed, and the share of <eos>."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import (
    validation,
)


def unigram_level(run: Run) -> float:
    """Return nats per character of a model that knows only the training tokens' frequencies."""
    nats = run.outcome["probe"]["frequency"]["unigram_nats"]
    return nats / validation(run).characters


def end_share(record: dict[str, Any]) -> float | None:
    """Return the share of validation positions where <eos> was the likeliest token."""
    score = record.get("validation")
    return score and score.end_predicted_share


def final_score(run: Run, kind: str, name: str) -> float | None:
    """Return a number of the score called kind after the last step, or None if the run diverged."""
    score = run.records[-1].get(kind)
    return score and getattr(score, name)


def final_loss(run: Run) -> float | None:
    """Return nats per character of the validation text after the last step, None if diverged."""
    return final_score(run, "validation", "nats_per_character")


def completed(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that did not diverge."""
    return [run for run in runs if final_loss(run) is not None]


def mean_loss(runs: Sequence[Run]) -> float:
    """Return the mean final loss; infinite if a run diverged or there is none."""
    losses = [math.inf if final_loss(run) is None else final_loss(run) for run in runs]
    return statistics.fmean(losses or [math.inf])


def paired_losses(runs: Sequence[Run], others: Sequence[Run]) -> list[tuple[float, float]]:
    """Return the final losses of runs and of others with the same seed, if neither diverged."""
    known = {run.config.seed: final_loss(run) for run in completed(others)}
    return [
        (final_loss(run), known[run.config.seed])
        for run in completed(runs)
        if run.config.seed in known
    ]

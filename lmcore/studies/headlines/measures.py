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
    """Return how often <eos> was the likeliest token, of all validation positions."""
    score = record.get("validation")
    return score and score.end_predicted_share


def final_score(run: Run, kind: str, name: str) -> float | None:
    """Return a number of the score called kind after the last step, or None if the run diverged."""
    score = run.records[-1].get(kind)
    return score and getattr(score, name)


def final_loss(run: Run) -> float | None:
    """Return nats per character of all validation tokens in the end, if the run got there."""
    return final_score(run, "validation", "nats_per_character")


def completed(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that did not diverge."""
    return [run for run in runs if final_loss(run) is not None]


def mean_loss(runs: Sequence[Run]) -> float:
    """Return the mean loss in the end; infinite where a run diverged or none is there."""
    losses = [math.inf if final_loss(run) is None else final_loss(run) for run in runs]
    return statistics.fmean(losses or [math.inf])


def paired_losses(runs: Sequence[Run], others: Sequence[Run]) -> list[tuple[float, float]]:
    """Return the losses of runs and others of the same seed, where both got there."""
    known = {run.config.seed: final_loss(run) for run in completed(others)}
    return [
        (final_loss(run), known[run.config.seed])
        for run in completed(runs)
        if run.config.seed in known
    ]

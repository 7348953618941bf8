"""Numbers read from runs on stories, losses in nats per token: proxies share a tokenizer."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import select
from lmcore.studies.stories.experiments import base_of

RECENT = 25
"""Steps before a score over which the training loss is averaged."""


def validation_loss(record: dict[str, Any]) -> float | None:
    """Return a record's validation loss, None where nothing was scored."""
    score = record.get("validation")
    return score and score.loss


def final_loss(run: Run) -> float | None:
    """Return the validation loss of the weights that were kept, None if the run diverged.

    They are the last ones, or with early stopping the best.
    """
    if "diverged" in run.outcome:
        return None
    losses = [loss for record in run.records if (loss := validation_loss(record)) is not None]
    return min(losses) if run.config.train.evaluation.patience else losses[-1]


def test_loss(run: Run) -> float | None:
    """Return the test loss of the weights that were kept, None if the run diverged."""
    return None if "diverged" in run.outcome else run.outcome["test"].loss


test_loss.__test__ = False  # pytest takes it for a test where it is imported


def learned(run: Run) -> bool:
    """Return whether a run ended with a lower loss than guessing."""
    loss = final_loss(run)
    return loss is not None and loss < guessing(run)


def mean_loss(runs: Sequence[Run]) -> float:
    """Return the mean of `final_loss`, infinite if a run learned nothing or there is none."""
    losses = [loss for run in runs if learned(run) and (loss := final_loss(run)) is not None]
    return statistics.fmean(losses) if losses and len(losses) == len(runs) else math.inf


def guessing(run: Run) -> float:
    """Return the loss of a model to which all tokens are equally likely."""
    return math.log(run.config.model.vocab_size)


def differences(runs: Sequence[Run], name: str, base: str | None = None) -> list[float]:
    """Return for each seed by how much the run called name ends above the one called base.

    Without a base it is what a single change is compared with.
    """
    known = {run.config.seed: final_loss(run) for run in select(runs, base or base_of(name))}
    pairs = [(final_loss(run), known.get(run.config.seed)) for run in select(runs, name)]
    return [ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None]


def training_loss(run: Run, step: int) -> float | None:
    """Return the mean training loss of the recorded batches of RECENT steps up to step."""
    losses = [
        record["loss"]
        for record in run.records
        if step - RECENT < record["step"] <= step and record.get("loss") is not None
    ]
    return statistics.fmean(losses) if losses else None


def gap(run: Run, step: int) -> float:
    """Return the validation loss after step minus the training loss just before."""
    [record] = [record for record in run.records if record["step"] == step]
    loss, recent = validation_loss(record), training_loss(run, step)
    assert loss is not None, f"nothing was scored at step {step}"
    assert recent is not None, f"no batch was recorded up to step {step}"
    return loss - recent


def scored_steps(run: Run) -> list[int]:
    """Return the steps after which the validation text was scored, without step 0."""
    return [r["step"] for r in run.records if r["step"] and validation_loss(r) is not None]


def lowest_step(run: Run) -> int:
    """Return the step with the lowest validation loss."""
    scored = [(validation_loss(r), r["step"]) for r in run.records if "validation" in r]
    return min(scored)[1]


def passes(run: Run) -> float:
    """Return how many times the run's tokens go through its training stories."""
    return run.records[-1]["tokens"] / run.environment["data"]["train_tokens"]


def counting_gap(run: Run) -> float:
    """Return how much worse counting training tokens predicts the validation than the training
    text, in nats per token. It needs no model.
    """
    counting = run.outcome["probe"]["counting"]
    return counting["validation"] - counting["train"]


def text_metric(entry: dict[str, Any], name: str) -> float:
    """Return a metric of generated text by name."""
    return entry["metrics"][name]

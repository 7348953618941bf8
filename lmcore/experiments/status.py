"""How far experiments are: finished, running, interrupted, failed or not begun."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lmcore.experiments.batch import ERROR_FILE, scratch_folder
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.metrics_file import read_metrics
from lmcore.experiments.run_folder import Run
from lmcore.experiments.runner import load
from lmcore.locks import LockedError, locked

Stage = Literal["finished", "running", "failed", "interrupted", "not begun", "refused"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one experiment is."""

    experiment: Experiment
    stage: Stage
    """What became of it so far."""
    step: int = 0
    """Optimizer steps that are recorded."""
    reason: str = ""
    """Why it is not finished, where that is known."""
    run: Run | None = None
    """Its run, once it is finished."""


def progress_of(experiment: Experiment, scratch: Path | None = None) -> Progress:
    """Return how far experiment is. A folder with a run of another config counts as refused."""
    try:
        run = load(experiment)
    except ValueError as error:
        return Progress(experiment=experiment, stage="refused", reason=str(error))
    if run is not None:
        step = run.records[-1]["step"]
        return Progress(experiment=experiment, stage="finished", step=step, run=run)
    folder = scratch_folder(experiment, scratch)
    if not (folder / "config.json").exists() and not (folder / ERROR_FILE).exists():
        return Progress(experiment=experiment, stage="not begun")
    step = last_step(folder / "metrics.jsonl")
    try:
        with locked(folder):
            pass
    except LockedError as error:
        return Progress(experiment=experiment, stage="running", step=step, reason=str(error))
    if (folder / ERROR_FILE).exists():
        lines = (folder / ERROR_FILE).read_text(encoding="utf-8").strip().splitlines()
        reason = lines[-1] if lines else f"{folder / ERROR_FILE} is empty"
        return Progress(experiment=experiment, stage="failed", step=step, reason=reason)
    return Progress(experiment=experiment, stage="interrupted", step=step)


def last_step(metrics: Path) -> int:
    """Return the last recorded step, or 0 if there is none; a line under way does not count."""
    try:
        records = read_metrics(metrics)
    except ValueError:  # it is not there yet, or a line of it is being written
        return 0
    return records[-1]["step"] if records else 0

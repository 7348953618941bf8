"""Where a run resumes: the lock of its checkpoints, the newest one, and what is left to train."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lmcore.files import require_writable
from lmcore.locks import locked, remove_leftovers
from lmcore.training import parallel
from lmcore.training.checkpoint import Progress, latest_checkpoint, load_progress
from lmcore.training.early_stopping import EarlyStopping
from lmcore.training.identity import require_same_run
from lmcore.training.step import Stepper


@contextlib.contextmanager
def sole_writer(folder: Path | None) -> Iterator[None]:
    """Hold the lock of a folder for checkpoints, if any, in the first process of a group.

    Raises:
        OSError: no file can be made there.
        LockedError: another process holds it.
    """
    if folder is None or parallel.rank() > 0:
        yield
        return
    # A generator that is not used any more, but not deleted either, may hold it in this thread.
    with locked(folder, again=True):
        require_writable(folder)
        remove_leftovers(folder)
        yield


def resumed_progress(
    folder: Path | None, stepper: Stepper, facts: dict[str, Any], show: Callable[[str], None]
) -> Progress:
    """Load the newest checkpoint in folder, if any, and return how far its run had come.

    Raises:
        ValueError: the checkpoint is damaged, of another run, or was computed in another precision.
    """
    newest, precision = latest_checkpoint(folder) if folder else None, stepper.runtime.precision
    if newest is None:
        return Progress(step=0, elapsed_s=0.0, precision=precision)
    lengths: list[str] = []

    def check(stored: dict[str, Any]) -> None:
        lengths.extend(require_same_run(newest, stored, facts))

    progress = load_progress(newest, stepper.model, stepper.optimizer, check)
    if progress.precision != precision:
        raise ValueError(
            f"{newest} was trained in {progress.precision}, not {precision}: "
            f"resume it with --runtime.precision {progress.precision}"
        )
    if lengths and stepper.config.schedule.kind != "constant" and progress.step < stepper.steps:
        show(
            f"{newest} began with another length ({'; '.join(lengths)}): from here on the learning "
            "rate follows the new one"
        )
    return progress


def reason_to_stop(
    progress: Progress, stopping: EarlyStopping, max_s: float | None, steps: int
) -> str | None:
    """Return why a resumed run has nothing left to train under its present config, if so."""
    if progress.step >= steps:
        return f"it has taken {progress.step} steps, and {steps} are planned"
    if stopping.stop_reason:
        return stopping.stop_reason
    is_up = max_s is not None and progress.stop_reason is not None and progress.elapsed_s > max_s
    return time_limit(max_s) if is_up and max_s is not None else None


def time_limit(limit: float) -> str:
    """Return the reason of a run that ended because its time was up."""
    return f"reached the time limit of {limit:g} seconds"

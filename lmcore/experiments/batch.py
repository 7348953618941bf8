"""Many experiments: one after another or in processes side by side, on after failures.

Finished runs are loaded and interrupted ones resume, so that a batch that was killed is started
again with the same call.
"""

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Literal

import torch

from lmcore.experiments.experiment import Experiment
from lmcore.experiments.run_folder import Run
from lmcore.experiments.runner import History, Probe, load, run_or_load
from lmcore.files import write_text
from lmcore.locks import LockedError
from lmcore.training.runtime import Runtime, keep_large_blocks

ERROR_FILE = "error.txt"
"""What the last attempt at an unfinished run failed of, in its folder."""
ATTEMPTS = 2
"""How often a run is started whose process was killed."""

State = Literal["finished", "failed", "elsewhere"]
Show = Callable[[str], None]
After = Callable[[Run, "Job"], None]
"""What is done with a finished run and its job."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What running one experiment takes; it goes to another process as a whole."""

    experiment: Experiment
    """The experiment."""
    probe: Probe
    """What is kept of its model; a function that another process can import."""
    history: History | None = None
    """What is kept of the weights saved during training."""
    after: After | None = None
    """What is done once it is finished."""
    runtime: Runtime | None = None
    """Device, precision and compilation."""
    data: Path | None = None
    """The text, or the folder that it is in."""
    scratch: Path | None = None
    """The folder of unfinished runs."""

    @property
    def folder(self) -> Path:
        """The folder that the run is trained in."""
        return scratch_folder(self.experiment, self.scratch)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How it went with one experiment of a batch."""

    experiment: Experiment
    state: State
    """Finished, failed, or trained by another process now."""
    reason: str = ""
    """Why it is not finished, in one line."""


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """How it went with all experiments of a batch."""

    outcomes: tuple[Outcome, ...]

    @property
    def runs(self) -> list[Run]:
        """The finished runs."""
        finished = [o.experiment for o in self.outcomes if o.state == "finished"]
        return [run for experiment in finished if (run := load(experiment))]

    @property
    def unfinished(self) -> list[Outcome]:
        """Those that are not finished."""
        return [outcome for outcome in self.outcomes if outcome.state != "finished"]

    def summary(self) -> str:
        """Return how many are finished, and a line for each that is not, with the reason."""
        n = len(self.outcomes)
        lines = [f"{n - len(self.unfinished)} of {n} runs finished"]
        lines += [
            f"  {o.experiment.path.as_posix()} {o.state}: {o.reason}" for o in self.unfinished
        ]
        return "\n".join(lines)


def scratch_folder(experiment: Experiment, scratch: Path | None = None) -> Path:
    """Return the folder that experiment is trained in."""
    return (scratch or experiment.root / "runs") / experiment.path


def run_batch(
    experiments: Sequence[Experiment],
    probe: Probe,
    *,
    history: History | None = None,
    after: After | None = None,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
    jobs: int = 1,
    show: Show | None = None,
) -> BatchResult:
    """Run experiments, so many at a time, and return how it went with each.

    Each has its run folder as by `run_or_load`. With jobs above 1 each is a process of its own, and
    torch's threads are shared out among them; a script then needs `if __name__ == "__main__":`. A
    process that is killed is started again once and resumes. A failure ends only its own
    experiment; its traceback is in error.txt of the folder it was trained in. show takes lines for
    the user.

    Raises:
        ValueError: jobs is less than 1, or two experiments have the same folder.
        KeyboardInterrupt: on Ctrl-C, once all processes have written checkpoints.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    planned = jobs_of(experiments, probe, history, after, runtime, data, scratch)
    run_jobs = _one_by_one(planned) if jobs == 1 else _side_by_side(planned, jobs)
    outcomes: dict[Path, Outcome] = {}
    for outcome in run_jobs:
        outcomes[outcome.experiment.path] = outcome
        show_outcome(show, outcome, len(outcomes), len(planned))
    return BatchResult(outcomes=tuple(outcomes[e.path] for e in experiments))


def jobs_of(
    experiments: Sequence[Experiment],
    probe: Probe,
    history: History | None,
    after: After | None,
    runtime: Runtime | None,
    data: Path | None,
    scratch: Path | None,
) -> list[Job]:
    """Return a job for each experiment, with absolute paths.

    Raises:
        ValueError: two experiments have the same folder.
    """
    require_distinct(experiments)
    return [
        Job(
            experiment=experiment,
            probe=probe,
            history=history,
            after=after,
            runtime=runtime,
            data=data and data.absolute(),
            scratch=scratch and scratch.absolute(),
        )
        for experiment in experiments
    ]


def show_outcome(show: Show | None, outcome: Outcome, number: int, n: int) -> None:
    """Show how it went with the number-th of n experiments."""
    if show:
        reason = f": {outcome.reason}" if outcome.reason else ""
        show(f"[{number}/{n}] {outcome.experiment.path.as_posix()} {outcome.state}{reason}")


def require_distinct(experiments: Sequence[Experiment]) -> None:
    """Raise ValueError if two experiments would be written to the same folder."""
    seen: set[Path] = set()
    for experiment in experiments:
        if experiment.path in seen:
            raise ValueError(
                f"two experiments are called {experiment.path.as_posix()}: give one another name "
                "or seed"
            )
        seen.add(experiment.path)


def run_job(job: Job, progress: bool = False) -> Outcome:
    """Return how it went with job, which is run here; only Ctrl-C raises an error."""
    error_file = job.folder / ERROR_FILE
    try:
        error_file.unlink(missing_ok=True)
        run = run_or_load(
            job.experiment,
            job.probe,
            history=job.history,
            runtime=job.runtime,
            data=job.data,
            scratch=job.scratch,
            progress=progress,
        )
        if job.after:
            job.after(run, job)
    except LockedError as error:
        return Outcome(experiment=job.experiment, state="elsewhere", reason=str(error))
    except Exception as error:
        with contextlib.suppress(OSError):  # the disk may be what failed
            write_text(error_file, traceback.format_exc())
        return Outcome(experiment=job.experiment, state="failed", reason=one_line(error))
    return Outcome(experiment=job.experiment, state="finished")


def one_line(error: BaseException) -> str:
    """Return an error's message in one line, with its kind unless it was raised for the user."""
    text = " ".join(str(error).split())
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def _one_by_one(jobs: Sequence[Job]) -> Iterator[Outcome]:
    for job in jobs:
        yield run_job(job, progress=True)


# Side by side


@dataclass(eq=False)
class _Worker:
    """A process with a job, and the end of the pipe on which its outcome comes."""

    job: Job
    process: SpawnProcess
    connection: Connection
    attempt: int


def _side_by_side(jobs: Sequence[Job], n: int) -> Iterator[Outcome]:
    waiting = [(job, 1) for job in jobs]
    workers: list[_Worker] = []
    threads = max(1, torch.get_num_threads() // n)
    try:
        while waiting or workers:
            while waiting and len(workers) < n:
                workers.append(_started(*waiting.pop(0), threads))
            wait([worker.process.sentinel for worker in workers])
            for worker in [w for w in workers if w.process.exitcode is not None]:
                workers.remove(worker)
                outcome = _outcome(worker)
                if outcome is None:
                    waiting.insert(0, (worker.job, worker.attempt + 1))
                else:
                    yield outcome
    finally:
        for worker in workers:  # a signal or an error here: each writes a checkpoint and ends
            worker.process.terminate()
        for worker in workers:
            worker.process.join()


def _started(job: Job, attempt: int, threads: int) -> _Worker:
    spawn = multiprocessing.get_context("spawn")
    receiving, sending = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_work, args=(sending, job, threads))
    with _environment(OMP_NUM_THREADS=str(threads)):
        process.start()
    sending.close()
    return _Worker(job, process, receiving, attempt)


def _work(connection: Connection, job: Job, threads: int) -> None:
    torch.set_num_threads(threads)
    keep_large_blocks()
    with contextlib.suppress(KeyboardInterrupt):  # the parent says so to the user
        connection.send(run_job(job))


def _outcome(worker: _Worker) -> Outcome | None:
    """Return how it went with an ended worker, or None if it was killed and may be tried again."""
    with worker.connection, contextlib.suppress(EOFError):
        return worker.connection.recv()
    code = worker.process.exitcode
    if worker.attempt < ATTEMPTS:
        return None
    reason = f"its process ended {ATTEMPTS} times with status {code}"
    if code == -9:
        reason += ", as when memory runs out: try fewer --jobs"
    return Outcome(experiment=worker.job.experiment, state="failed", reason=reason)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables for processes that are started in the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

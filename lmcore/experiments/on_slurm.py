"""A batch on a Slurm cluster: each experiment is a job, and a lost job is submitted again.

The machines share the folders of runs and results. Needs the extra `slurm`.
"""

import functools
import importlib
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lmcore.experiments.batch import (
    After,
    BatchResult,
    Job,
    Outcome,
    Show,
    jobs_of,
    show_outcome,
)
from lmcore.experiments.experiment import Experiment, workspace
from lmcore.experiments.runner import History, Probe
from lmcore.experiments.worker import send_whole, work_in
from lmcore.training.runtime import Runtime

RETRIES = 3
"""How often the job of an experiment is submitted again after it ended without an outcome."""
POLL_S = {"slurm": 5.0, "local": 0.2}
"""Seconds between two looks at the queue."""


Cluster = Literal["slurm", "local"]


def run_on_slurm(
    experiments: Sequence[Experiment],
    probe: Probe,
    *,
    partition: str | None = None,
    minutes: int = 24 * 60,
    cpus_per_run: int = 1,
    gpus_per_run: int = 0,
    side_by_side: int = 256,
    cluster: Cluster = "slurm",
    history: History | None = None,
    after: After | None = None,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
    show: Show | None = None,
) -> BatchResult:
    """Run experiments as jobs of Slurm and return how it went with each, as `run_batch` does.

    Each job has minutes of time in partition (None: the default one), and at most side_by_side run
    at once. A job that runs out of time or is preempted is queued again by submitit; one that is
    lost otherwise is submitted again up to RETRIES times. Both resume from the last checkpoint.
    Ctrl-C here leaves the jobs in the queue. The working directory must be the same folder on every
    machine, with lmcore installed. Logs of the jobs are in the folder `slurm` of unfinished runs.
    The cluster "local" has processes on this machine instead of jobs.

    Raises:
        ValueError: submitit or Slurm is not installed, Slurm refuses the jobs, or two experiments
            have the same folder.
    """
    jobs = jobs_of(experiments, probe, history, after, runtime, data, scratch)
    executor = _executor(cluster, (scratch or workspace() / "runs").absolute() / "slurm")
    executor.update_parameters(
        name="lmcore",
        timeout_min=minutes,
        cpus_per_task=cpus_per_run,
        gpus_per_node=gpus_per_run,
        **({"slurm_partition": partition} if partition else {}),
        slurm_array_parallelism=side_by_side,
    )
    cloudpickle = importlib.import_module("cloudpickle")
    for function in (probe, history, after):
        send_whole(cloudpickle, function)
    return _run(executor, jobs, _Task(str(Path.cwd()), cpus_per_run), cluster, show)


class _Task:
    """What a job of the cluster calls, and calls again after it was interrupted."""

    def __init__(self, folder: str, threads: int):
        self.folder, self.threads = folder, threads

    def __call__(self, job: Job) -> Outcome:
        return work_in(job, self.folder, self.threads)

    def checkpoint(self, job: Job) -> Any:
        """Return what takes the job up: submitit calls this before time runs out."""
        return importlib.import_module("submitit").helpers.DelayedSubmission(self, job)


def _run(
    executor: Any, jobs: Sequence[Job], task: _Task, cluster: Cluster, show: Show | None
) -> BatchResult:
    submitted = _submitted(executor, task, jobs)
    attempts, outcomes = dict.fromkeys(range(len(jobs)), 1), {}
    waiting = dict(enumerate(submitted))
    try:
        while waiting:
            for number in _ended(waiting, cluster):
                remote = waiting.pop(number)
                outcome = _outcome(remote, jobs[number], attempts[number])
                if outcome is None:
                    [waiting[number]] = _submitted(executor, task, [jobs[number]])
                    attempts[number] += 1
                    continue
                outcomes[number] = outcome
                show_outcome(show, outcome, len(outcomes), len(jobs))
    except KeyboardInterrupt:
        if show:
            ids = " ".join(remote.job_id for remote in waiting.values())
            show(f"these jobs go on: {ids}; scancel ends them, and this command takes them up")
        raise
    return BatchResult(outcomes=tuple(outcomes[number] for number in range(len(jobs))))


def _submitted(executor: Any, task: _Task, jobs: Sequence[Job]) -> list[Any]:
    submitit = importlib.import_module("submitit")
    try:
        if len(jobs) == 1:
            return [executor.submit(task, jobs[0])]
        return executor.map_array(task, jobs)
    except submitit.core.utils.FailedJobError as error:
        raise ValueError(f"Slurm refuses the jobs: {' '.join(str(error).split())}") from None


def _ended(waiting: dict[int, Any], cluster: Cluster) -> list[int]:
    """Return which of the jobs that are waited for have ended, once at least one has.

    A job that has left the queue gets one more look, as its outcome may reach this machine later.
    """
    gone: set[int] = set()
    while True:
        active = QUEUES[cluster](list(waiting.values()))
        left = {n for n, remote in waiting.items() if remote.job_id not in active}
        ended = [n for n, job in waiting.items() if job.paths.result_pickle.exists()]
        ended += sorted((left & gone) - set(ended))
        if ended:
            return ended
        gone = left
        time.sleep(POLL_S[cluster])


def _in_queue(jobs: Sequence[Any]) -> set[str]:
    """Return the ids of our jobs that wait or run; of all, if the queue can't be read."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        return {job.job_id for job in jobs}
    return set(answer.stdout.split())


def _alive(jobs: Sequence[Any]) -> set[str]:
    """Return the ids of the processes that run."""
    return {job.job_id for job in jobs if not job.done()}


QUEUES = {"slurm": _in_queue, "local": _alive}


def _outcome(remote: Any, job: Job, attempt: int) -> Outcome | None:
    """Return how it went with an ended job of the cluster, or None if it is submitted again."""
    failed = functools.partial(Outcome, experiment=job.experiment, state="failed")
    if remote.paths.result_pickle.exists():
        try:
            return remote.result()
        except Exception as error:  # what the worker raised, or submitit when time ran out
            return failed(reason=f"{' '.join(str(error).split()[-40:])}: see {remote.paths.stderr}")
    if attempt <= RETRIES:
        return None
    return failed(reason=f"its job was lost {attempt} times: see {remote.paths.stderr}")


def _executor(cluster: Cluster, folder: Path) -> Any:
    try:
        submitit = importlib.import_module("submitit")
    except ModuleNotFoundError:
        raise ValueError("Slurm needs submitit: pip install 'lmcore[slurm]'") from None
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise ValueError("there is no Slurm here: sbatch was not found")
    return submitit.AutoExecutor(folder=folder, cluster=cluster)

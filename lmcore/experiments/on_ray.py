"""A batch on a Ray cluster: each experiment is a task, and a killed worker's is taken up again.

The workers share the folders of runs and results, on one machine or on a network file system. Needs
the extra `cluster`.
"""

import functools
import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmcore.experiments.batch import (
    After,
    BatchResult,
    Job,
    Outcome,
    Show,
    jobs_of,
    show_outcome,
)
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.runner import History, Probe
from lmcore.experiments.worker import send_whole, work_in
from lmcore.training.runtime import Runtime

RETRIES = 3
"""How often Ray starts an experiment again whose worker or machine was lost."""


def run_on_ray(
    experiments: Sequence[Experiment],
    probe: Probe,
    *,
    address: str | None = None,
    cpus_per_run: int = 1,
    gpus_per_run: int | float = 0,
    history: History | None = None,
    after: After | None = None,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
    show: Show | None = None,
) -> BatchResult:
    """Run experiments on a Ray cluster and return how it went with each, as `run_batch` does.

    address is that of the cluster, such as "auto" or ray://head:10001; None starts one on this
    machine, or takes the one that this process is connected to. As many runs go side by side as
    cpus_per_run and gpus_per_run allow. Workers use this process's working directory, which must be
    the same folder on every machine, with lmcore installed.

    Raises:
        ValueError: Ray is not installed, or two experiments have the same folder.
        ConnectionError: there is no cluster at address.
    """
    jobs = jobs_of(experiments, probe, history, after, runtime, data, scratch)
    ray = _ray()
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(address, log_to_driver=False, include_dashboard=False, configure_logging=False)
    try:
        for function in (probe, history, after):
            send_whole(ray.cloudpickle, function)
        return _run(ray, jobs, cpus_per_run, gpus_per_run, show)
    finally:
        if is_ours:
            ray.shutdown()


def _run(
    ray: Any, jobs: Sequence[Job], cpus: int, gpus: int | float, show: Show | None
) -> BatchResult:
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(work_in)
    by_reference = {task.remote(job, str(Path.cwd()), cpus): job for job in jobs}
    waiting, outcomes = list(by_reference), {}
    while waiting:
        [done], waiting = ray.wait(waiting)
        job = by_reference[done]
        outcomes[job.experiment.path] = outcome = _outcome(ray, done, job)
        show_outcome(show, outcome, len(outcomes), len(jobs))
    return BatchResult(outcomes=tuple(outcomes[job.experiment.path] for job in jobs))


def _outcome(ray: Any, reference: Any, job: Job) -> Outcome:
    failed = functools.partial(Outcome, experiment=job.experiment, state="failed")
    try:
        return ray.get(reference)
    except ray.exceptions.WorkerCrashedError:
        return failed(reason=f"its worker was lost {1 + RETRIES} times, as when memory runs out")
    except ray.exceptions.RayError as error:
        return failed(reason=" ".join(str(error).split()))


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError:
        raise ValueError("a cluster needs Ray: pip install 'lmcore[cluster]'") from None

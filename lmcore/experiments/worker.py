"""What a worker on another machine does with a job of a batch."""

import os
import sys
from collections.abc import Callable
from typing import Any

import torch

from lmcore.experiments.batch import Job, Outcome, run_job
from lmcore.training.runtime import keep_large_blocks


def work_in(job: Job, folder: str, threads: int) -> Outcome:
    """Return how it went with job, run here in the working directory of the process that asked."""
    os.chdir(folder)
    torch.set_num_threads(threads)
    keep_large_blocks()
    return run_job(job)


def send_whole(cloudpickle: Any, function: Callable[..., Any] | None) -> None:
    """Send the code of a user's file along with its function, as workers cannot import the file."""
    module = sys.modules.get(getattr(function, "__module__", ""))
    if module is not None and module.__name__.split(".")[0] not in ("lmcore", "__main__"):
        cloudpickle.register_pickle_by_value(module)

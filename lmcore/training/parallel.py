"""Training in several processes, started by torchrun; without it everything here is a no-op."""

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist


@contextlib.contextmanager
def group() -> Iterator[None]:
    """Join the processes that torchrun started, each on its own GPU where there are any."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    has_gpus = torch.cuda.is_available()
    if has_gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if has_gpus else "gloo")
    try:
        yield
        # Gloo's threads outlive the group and free Python's tensors a moment after their use: they
        # must have done so before Python ends, or the process aborts. A barrier has no such tensor.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process, 0 if it is the only one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextlib.contextmanager
def first_goes_first() -> Iterator[None]:
    """Let process 0 finish the block before the others enter it and use what it wrote.

    Raises:
        RuntimeError: in the others, if process 0 left the block with an error.
    """
    if rank() > 0 and anywhere(False):
        raise RuntimeError("process 0 ended with an error before the others could begin")
    has_failed = True
    try:
        yield
        has_failed = False
    finally:
        if rank() == 0:
            anywhere(has_failed)


def anywhere(flag: bool) -> bool:
    """Return whether flag is set in any process; all processes must call this."""
    if world() == 1:
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    raised = torch.tensor(int(flag), device=device)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return bool(raised)


def mean(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of value over the processes."""
    if world() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / world()

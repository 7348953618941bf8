"""Probes that worker processes import by name."""

import os
import signal
from pathlib import Path

import torch


def no_probe(model, corpus):
    return {}


def failing_probe(model, corpus):
    raise ValueError(f"this fails on {corpus.name}")


def killed_once(model, corpus):
    """End the process as if the system had killed it, the first time that it is called."""
    marker = Path("killed")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"marker": marker.exists()}


def always_killed(model, corpus):
    os.kill(os.getpid(), signal.SIGKILL)


def failing_probe_of_seed_2(model, corpus):
    """Fail where the seed of the run drew the second set of first weights."""
    if torch.initial_seed() == 2:
        raise ValueError("this fails")
    return {}

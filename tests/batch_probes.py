"""Probes that worker processes import by name."""

import os
import signal
from pathlib import Path


def no_probe(model, corpus):
    return {}


def failing_probe(model, corpus):
    raise ValueError(f"this fails on {corpus.config.share:g} of the text")


def killed_once(model, corpus):
    """End the process as if the system had killed it, the first time that it is called."""
    marker = Path("killed")
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"marker": marker.exists()}


def always_killed(model, corpus):
    os.kill(os.getpid(), signal.SIGKILL)

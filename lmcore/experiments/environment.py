"""The environment of a run: commit, versions, device, memory."""

import importlib.metadata
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from lmcore.experiments.experiment import workspace
from lmcore.training import parallel
from lmcore.training.runtime import Runtime

CODE = (":/", ":(top,exclude)results")
"""What of a repository a run is made from. A search keeps the file of its trials in results."""


def environment(runtime: Runtime) -> dict[str, Any]:
    """Return the facts that are needed to judge a run or to repeat it on another machine."""
    packages = ("lmcore", "torch", "numpy", "numba", "safetensors")
    cuda = runtime.device.startswith("cuda")
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no", "--", *CODE)),
        "python": platform.python_version(),
        **{name: version_of(name) for name in packages},
        "device": torch.cuda.get_device_name() if cuda else processor(),
        "threads": torch.get_num_threads(),
        "processes": parallel.world(),
        "precision": runtime.precision,
        "compile": runtime.compile,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def version_of(package: str) -> str:
    """Return the version of an installed package; a checkout on the path may not be installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def git(*arguments: str) -> str:
    """Return the output of a git command, or an empty text where there is no repository."""
    try:
        return subprocess.run(
            ["git", *arguments], cwd=workspace(), capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor() -> str:
    """Return the processor's name and its number of cores."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    lines = text.splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(names) or 1} cores"


def peak_bytes(runtime: Runtime) -> int | None:
    """Return the peak memory so far: of the GPU if it is used, else of this process.

    On Windows it is not known and None.
    """
    if runtime.device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    if sys.platform == "win32":
        return None
    import resource  # Windows lacks it

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

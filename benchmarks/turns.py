"""Contenders in turn, each time in a fresh process, so that none inherits another's memory."""

import importlib.metadata
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def machine(*packages: str) -> str:
    """Return the processor, its cores, Python, and the versions of packages, in a line."""
    name, cores = platform.processor() or platform.machine(), 0
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
        name, cores = names[0] if names else name, len(names)
    versions = [f"{each} {importlib.metadata.version(each)}" for each in packages]
    told = [name, f"{cores} cores", f"Python {platform.python_version()}", *versions]
    return f"Measured on {', '.join(told)}, {time.strftime('%Y-%m-%d')}."


def in_turn(
    script: str, contenders: Sequence[str], rounds: int, *arguments: str
) -> dict[str, list[dict]]:
    """Return what script reports as a child of each contender, in every round.

    A child is `script --child CONTENDER ARGUMENTS`; see `report`.
    """
    found: dict[str, list[dict]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in contenders:
            print(f"{Path(script).stem} {' '.join(arguments)}: {name}, round {number + 1}",
                  file=sys.stderr)  # fmt: skip
            command = [sys.executable, script, "--child", name, *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(done.stdout))
    return found


def report(**numbers: float | str) -> None:
    """Print a child's numbers, and the most memory it held, for its parent to read."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_bytes": peak, **numbers}))


def median(found: list[dict], key: str) -> float:
    """Return the median of a number over the rounds."""
    return statistics.median(each[key] for each in found)


def seconds(work: Callable[[], object]) -> float:
    """Return how long work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

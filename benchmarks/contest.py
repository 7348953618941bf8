"""Runs contenders in turns, each time in a fresh process, and tells their medians."""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRELUDE = """
import json, resource, sys, time, types
started = time.perf_counter()
# a bare package for lmcore, whose own imports torch for models
package = types.ModuleType("lmcore")
package.__path__ = [{folder!r}]
sys.modules["lmcore"] = package
END = "<|endoftext|>"
globals().update({setting!r})
"""
CODA = """
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peak_bytes = peak if sys.platform == "darwin" else 1024 * peak
seconds = globals().get("spent", time.perf_counter() - started)
print(json.dumps([seconds, peak_bytes, {result}]))
"""


@dataclass(frozen=True)
class Runs:
    """What a contender's runs took: seconds by median, the most memory of all, one's result."""

    seconds: float
    least: float
    most: float
    peak_bytes: int
    result: Any


def run(code: str, setting: dict[str, Any], result: str) -> list:
    """Return [seconds, peak bytes, result] of code in a process of its own.

    The seconds are those of the whole program, or what it calls spent.
    """
    folder = str(Path(__file__).resolve().parents[1] / "lmcore")
    program = PRELUDE.format(folder=folder, setting=setting) + code + CODA.format(result=result)
    threads = str(setting["workers"])
    limits = {"RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **limits, "TOKENIZERS_PARALLELISM": str(threads != "1").lower()},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def contest(
    contenders: dict[str, str], setting: dict[str, Any], result: str, repeats: int
) -> dict[str, Runs]:
    """Return each contender's runs; they take turns, after a first run that is not counted."""
    for code in contenders.values():
        run(code, setting, result)
    rounds = [
        {name: run(code, setting, result) for name, code in contenders.items()}
        for _ in range(repeats)
    ]
    return {name: _together([one[name] for one in rounds]) for name in contenders}


def _together(runs: list[list]) -> Runs:
    seconds, peaks, results = zip(*runs, strict=True)
    return Runs(statistics.median(seconds), min(seconds), max(seconds), max(peaks), results[-1])

"""Contenders in turn, each time in a fresh process, so that none inherits another's memory.

A benchmark ends in `start(main, child)`, and `in_turn` starts it anew for each of them, as
a process that calls child with the contender and what else it was given, and tells by `report`.
"""

import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def machine(*packages: str) -> str:
    """Return the processor, its cores, Python, and the versions of packages, in a line."""
    name, cores = platform.processor() or platform.machine(), os.cpu_count()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        names = [line.split(": ")[1] for line in lines if line.startswith("model name")]
        name, cores = names[0] if names else name, len(names) or cores
    versions = [f"{each} {importlib.metadata.version(each)}" for each in packages]
    if "torch" in packages:
        import torch  # not for those that time how fast a process is there

        if torch.cuda.is_available():
            name = f"{torch.cuda.get_device_name()} with {name}"
    told = [name, f"{cores} cores", f"Python {platform.python_version()}", *versions]
    return f"Measured on {', '.join(told)}, {time.strftime('%Y-%m-%d')}."


def in_turn(
    script: str,
    contenders: Sequence[str],
    rounds: int,
    *arguments: str | int,
    once: Sequence[str] = (),
) -> dict[str, list[dict]]:
    """Return what script reports as a child of each contender, in every round.

    Those named in once take part in the first round only. process_s is the time from starting a
    child to its end.
    """
    found: dict[str, list[dict]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in contenders:
            if number and name in once:
                continue
            told = " ".join(map(str, arguments))
            print(f"{Path(script).stem} {told}: {name}, round {number + 1}", file=sys.stderr)
            command = [sys.executable, script, "--child", json.dumps([name, *arguments])]
            started = time.perf_counter()
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            took = {"process_s": time.perf_counter() - started}
            found[name].append(took | json.loads(done.stdout))
    return found


def start(main: Callable[[], None], child: Callable[..., None]) -> None:
    """Be the benchmark that a reader started, or a child that `in_turn` did."""
    if sys.argv[1:2] == ["--child"]:
        child(*json.loads(sys.argv[2]))
    else:
        main()


def report(**numbers: float | str) -> None:
    """Print a child's numbers, and the most memory it held, for its parent to read."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_bytes = peak if sys.platform == "darwin" else 1024 * peak
    print(json.dumps({"peak_bytes": peak_bytes, **numbers}))


def median(found: list[dict], key: str) -> float:
    """Return the median of a number over the rounds."""
    return statistics.median(each[key] for each in found)


def seconds(work: Callable[[], object]) -> float:
    """Return how long work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def limit_threads(threads: int) -> None:
    """Give this process so many threads to tokenize with; what is imported from now on obeys."""
    os.environ |= {
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": str(threads > 1).lower(),
        "OMP_NUM_THREADS": "1",
    }


def beginning(text: Path, n_bytes: int, folder: Path) -> Path:
    """Return a file in folder with the first n_bytes of text, whole characters only."""
    with text.open("rb") as file:
        raw = file.read(n_bytes)
    out = folder / f"{n_bytes / 1e6:.3g} MB of {text.name}"
    out.write_text(raw.decode(errors="ignore"), encoding="utf-8", newline="")
    return out


def row(runs: list[dict], key: str, **facts: Any) -> dict[str, Any]:
    """Return what runs took as a row of a JSON file: facts, seconds by key, the highest peak."""
    peak_bytes = max(run["peak_bytes"] for run in runs)
    return facts | {"seconds": [round(run[key], 3) for run in runs], "peak_bytes": peak_bytes}


def write_down(prefix: Path, told: str, rows: list[dict], header: str, lines: list[str]) -> None:
    """Write prefix.json, which holds all rows, and prefix.md with the machine and a table."""
    table = [header, "|" + " --- |" * (header.count("|") - 1), *lines]
    content = json.dumps({"machine": told, "rows": rows}, indent=1) + "\n"
    prefix.with_suffix(".json").write_text(content, encoding="utf-8")
    prefix.with_suffix(".md").write_text("\n".join([told, "", *table, ""]), encoding="utf-8")

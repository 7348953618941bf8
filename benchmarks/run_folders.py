"""How long do a thousand run folders take to load, and how much memory?

Usage: python benchmarks/run_folders.py [RUN] [--runs N ...] [--rounds N]
Copies a finished run, by default the one with the median size of all in results/, loads the copies
with find_runs, which checks their checksums, and then also makes the table of `lmcore runs` or
reads all records. Every run is a fresh process; its processor time counts, imports included.
Writes run_folders.json and .md beside this file, or to --to.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from turns import in_turn, machine, report, row, start, write_down

RESULTS = Path(__file__).resolve().parents[1] / "results"
WORK = ("loaded", "loaded and in a table", "loaded and all records read")
HEADER = "| run folders | work | MB of records | seconds of one core, median | most | peak, MB |"


def child(work: str, folder: str) -> None:
    """Load all runs below folder into tables."""
    from lmcore.experiments.find_runs import find_runs
    from lmcore.studies import config_type_of

    runs = find_runs([folder], config_type_of)
    if work == "loaded and in a table":
        from lmcore.report.frames import runs_frame

        runs_frame(runs)
    elif work == "loaded and all records read":
        for run in runs:
            list(run.records)
    report(cpu_s=time.process_time())


def median_run() -> Path:
    """Return the folder of the run in results whose records have the median size."""
    found = sorted(RESULTS.rglob("metrics.jsonl"), key=lambda path: path.stat().st_size)
    return found[len(found) // 2].parent


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, nargs="+", default=[100, 1_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(""))
    given = parser.parse_args()
    source, rows, lines = given.run or median_run(), [], []
    n_bytes = (source / "metrics.jsonl").stat().st_size
    for n in given.runs:
        with tempfile.TemporaryDirectory() as folder:
            for number in range(n):
                shutil.copytree(source, Path(folder) / f"run{number}")
            found = in_turn(__file__, WORK, given.rounds, folder)
        for work, runs in found.items():
            rows.append(row(runs, "cpu_s", work=work, folders=n, bytes=n * n_bytes))
            took = rows[-1]["seconds"]
            lines.append(
                f"| {n:,} | {work} | {n * n_bytes / 1e6:.1f} | {statistics.median(took):.2f} "
                f"| {max(took):.2f} | {rows[-1]['peak_bytes'] / 1e6:.0f} |"
            )
    write_down(given.to, machine("pandas"), rows, HEADER, lines)


if __name__ == "__main__":
    start(main, child)

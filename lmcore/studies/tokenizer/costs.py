"""Time and memory of tokenizers, from benchmarks, and what more text would take."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmcore.experiments.environment import peak_bytes
from lmcore.experiments.experiment import workspace
from lmcore.experiments.run_folder import Run
from lmcore.files import read_json
from lmcore.studies.tokenizer.surveys import Row, beginnings, cost_of, merges_of
from lmcore.studies.tokenizer.texts import generated
from lmcore.training.runtime import Runtime


def benchmark_files(scale: str, *names: str) -> list[Path]:
    """Return the benchmark files that costs come from; at smoke scale there are none."""
    folder = workspace() / "benchmarks"
    return [] if scale == "smoke" else [folder / f"{name}.json" for name in names]


def benchmark_rows(scale: str, name: str) -> list[Row]:
    """Return the rows that the benchmark called name measured, or small ones at smoke scale."""
    if scale == "smoke":
        return small_costs()
    return [row for path in benchmark_files(scale, name) for row in read_json(path)["rows"]]


def small_costs(size: int = 400) -> list[Row]:
    """Return rows like those of every benchmark, for lmcore on short generated text."""
    rows = []
    for part in beginnings(generated("shakespeare")):
        row = {"text": "generated", "bytes": len(part), "copies": 1, "size": size, "workers": 1}
        started = time.perf_counter()
        merges = merges_of(part, size)
        trained = time.perf_counter()
        cost_of(part, merges)
        ended = time.perf_counter()
        peak = peak_bytes(Runtime(device="cpu").resolve(0)) or 0
        for kind, seconds in (("training", trained - started), ("encoding", ended - trained)):
            row |= {"contender": "lmcore", "kind": kind, "peak_bytes": peak}
            rows.append(row | {"seconds": [seconds]})
    return rows


def median_s(row: Row) -> float:
    """Return the median of a row's seconds."""
    return statistics.median(row["seconds"])


def exponent(x: Sequence[float | int], y: Sequence[float | int]) -> float:
    """Return the slope of a straight line through the logarithms of y against those of x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


@dataclass(frozen=True)
class Projection:
    """Costs of training: a constant, one by bytes read, one by bytes of distinct pre-tokens."""

    seconds: tuple[float, ...]
    memory: tuple[float, ...]

    def of(self, n_bytes: int, distinct_bytes: float) -> tuple[float, float]:
        """Return the seconds and the bytes of memory that training on a text takes."""
        start, read, merge = self.seconds
        seconds = start + read * n_bytes + merge * distinct_bytes
        return seconds, self.memory[0] + self.memory[1] * distinct_bytes


def fit_costs(rows: Sequence[Row], grown: Sequence[Row]) -> Projection:
    """Return the costs that fit rows best; growth has the distinct pre-tokens of the same text.

    Copies of a text add no distinct pre-tokens.
    """
    x, y = (np.log([row[key] for row in grown]) for key in ("bytes", "distinct_bytes"))
    read = np.array([row["bytes"] for row in rows])
    lengths = read / np.array([row["copies"] for row in rows])
    distinct = np.exp(np.interp(np.log(lengths), x, y))
    ones = np.ones(len(rows))
    seconds = least_squares([ones, read, distinct], [median_s(row) for row in rows])
    memory = least_squares([ones, distinct], [row["peak_bytes"] for row in rows])
    return Projection(seconds, memory)


def least_squares(columns: list[np.ndarray], values: list[float | int]) -> tuple[float, ...]:
    """Return non-negative weights of columns that fit values best.

    Columns whose weight would be negative are left out, the most negative first.
    """
    columns_left, weights_left = list(range(len(columns))), np.array([-1.0])
    while min(weights_left) < 0:
        weights_left, *_ = np.linalg.lstsq(
            np.stack([columns[i] for i in columns_left], 1), values, rcond=None
        )
        if min(weights_left) < 0:
            del columns_left[
                int(np.argmin(weights_left * np.array([columns[i].max() for i in columns_left])))
            ]
    weights = dict(zip(columns_left, weights_left.tolist(), strict=True))
    return tuple(weights.get(i, 0.0) for i in range(len(columns)))


def lengths_and_sizes(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return the training rows by text length at one size, and by size on the whole text."""
    training = [row for row in rows if row["kind"] == "training"]
    usual = statistics.mode(row["size"] for row in training)
    longest = max(row["bytes"] for row in training if row["copies"] == 1)
    by_text = {row["bytes"]: row for row in training if row["size"] == usual}
    by_size = {row["size"]: row for row in training if row["bytes"] == longest}
    return [by_text[n] for n in sorted(by_text)], [by_size[n] for n in sorted(by_size)]


def growth_of(run: Run, text: str, least: int = 10**6) -> list[Row]:
    """Return the growth of a text from least bytes on, or all of it if the text is shorter."""
    rows = [row for row in run.records if row["text"] == text]
    return [row for row in rows if row["bytes"] >= least] or rows


def setting_of(row: Row) -> str:
    """Return the name of a benchmark's setting."""
    threads = "1 thread" if row["workers"] == 1 else f"{row['workers']} threads"
    return f"{Path(row['text']).stem}, {row['size']:,}, {threads}"


def megabytes_per_s(row: Row) -> float:
    """Return megabytes of text for each second."""
    return row["bytes"] / 1e6 / median_s(row)

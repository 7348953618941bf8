"""Does bfloat16 end where float32 ends? Train the same experiments in both and compare.

Usage: python benchmarks/precision.py [--steps N] [--name NAME] [--data PATH]
Writes one row per seed to standard output, as Markdown; timings are not its subject. What it wrote
for the known-entropy experiment is kept in precision.md beside it.
"""

import argparse
import itertools
import statistics
from pathlib import Path

import torch

from lmcore.evaluation.scores import score
from lmcore.experiments.experiment import Experiment, task_of, workspace
from lmcore.model.gpt import GPT
from lmcore.studies.baseline import experiments as baseline
from lmcore.tasks.titles import prepare
from lmcore.training.loop import train
from lmcore.training.runtime import Runtime


def final_loss(
    experiment: Experiment, precision: str, steps: int | None, data: Path | None
) -> tuple[float, float]:
    """Return (last training loss, nats per character on validation in float32) after steps."""
    corpus = prepare(experiment.task, workspace() / ".cache/corpus", data)
    runtime = Runtime(precision=precision, compile="no").resolve(0)
    torch.manual_seed(experiment.seed)
    model = GPT(experiment.model)
    records = train(model, experiment.train, task_of(experiment, corpus), runtime)
    *_, last = itertools.islice(records, None if steps is None else steps + 1)
    return last.loss, score(model, corpus.validation, corpus.eos_id).nats_per_character


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, help="stop after so many steps")
    parser.add_argument("--name", default="known-entropy", help="which of the study's experiments")
    parser.add_argument("--data", type=Path, help="local titles")
    given = parser.parse_args()
    print("| run | training loss float32 | bfloat16 | validation float32 | bfloat16 | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    columns: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for experiment in baseline.all_experiments():
        if experiment.name != given.name:
            continue
        pairs = []
        for precision, column in columns.items():
            pairs.append(final_loss(experiment, precision, given.steps, given.data))
            column.append(pairs[-1][1])
        (loss32, score32), (loss16, score16) = pairs
        print(
            f"| {experiment.path.as_posix()} | {loss32:.4f} | {loss16:.4f} "
            f"| {score32:.5f} | {score16:.5f} | {score16 - score32:+.5f} |",
            flush=True,
        )
    seeds = statistics.stdev(columns["float32"])
    print(f"\nSpread of float32 over seeds (standard deviation): {seeds:.5f}")


if __name__ == "__main__":
    main()

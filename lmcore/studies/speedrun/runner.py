"""Run a race at most once: load it if it is finished, go on where it stopped, or start it."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from lmcore.config import config_hash
from lmcore.experiments.environment import environment, peak_bytes
from lmcore.experiments.experiment import Experiment, prepared, task_of
from lmcore.experiments.run_folder import Run, RunWriter
from lmcore.experiments.runner import load
from lmcore.model.gpt import GPT
from lmcore.studies.grokking.experiments import SOLVED
from lmcore.studies.speedrun.experiments import Race
from lmcore.training.early_stopping import ACCURATE_EVALUATIONS
from lmcore.training.loop import train
from lmcore.training.records import DivergedError, Record
from lmcore.training.runtime import Runtime

ON_CPU = Runtime(device="cpu", precision="float32", compile="no")
"""Small tables gain nothing from a GPU."""


def run_all(races: Sequence[Race], data: Path | None = None, progress: bool = True) -> list[Run]:
    """Return the run of each race: loaded if it is finished, otherwise run now; data is not used.

    Raises:
        ValueError: a folder holds a run of another config.
    """
    return [run_or_load(race, progress) for race in races]


def run_or_load(race: Race, progress: bool = True) -> Run:
    """Return the run of one race. An interrupted one goes on with the seed that it was at.

    Raises:
        ValueError: a folder holds a run of another config.
    """
    if finished := load(race):
        return finished
    runtime = ON_CPU.resolve(0)
    with RunWriter(race.root / "runs" / race.path, race) as writer:
        done = len(writer.records())
        writer.note_session(environment(runtime))
        writer.note_environment({"data": {"text_sha256": config_hash(race), "seeds": race.n_seeds}})
        seeds = range(race.seed + done, race.seed + race.n_seeds)
        bar = tqdm(seeds, desc=race.name, initial=done, total=race.n_seeds, disable=not progress)
        for step, seed in enumerate(bar, done):
            writer.add({"step": step} | result(race.of_seed(seed), runtime))
        writer.note_environment({"peak_bytes": peak_bytes(runtime)})
        writer.finish({}, race.root / "results" / race.path)
    run = load(race)
    assert run is not None, f"{race.path} was just written"
    return run


def result(experiment: Experiment, runtime: Runtime) -> dict[str, Any]:
    """Return one seed's line: when it solved its table, or None, and what it cost.

    memorised is the first step with SOLVED accuracy on training rows; cpu_s are seconds of
    processor time, which other processes on the machine hardly change.
    """
    started = time.process_time()
    torch.manual_seed(experiment.seed)
    corpus = prepared(experiment, experiment.root / ".cache")
    task = task_of(experiment, corpus)
    records = train(GPT(experiment.model), experiment.train, task, runtime)
    scored, diverged = [], False
    try:
        scored.extend(scores_of(records))
    except DivergedError:
        diverged = True
    step = None if diverged else solved_step(scored)
    line = {
        "seed": experiment.seed,
        "solved": step,
        "memorised": next((s for s, train, _ in scored if train >= SOLVED), None),
        "steps": scored[-1][0] if scored else 0,
        "final": scored[-1][2] if scored else 0.0,
        "cpu_s": round(time.process_time() - started, 2),
    }
    if step is not None:
        line["epochs"] = round(step / task.batches_per_epoch, 2) if task.batches_per_epoch else None
    return line | ({"diverged": True} if diverged else {})


def scores_of(records: Iterator[Record]) -> Iterator[tuple[int, float, float]]:
    """Yield step and accuracy on training and validation rows of each evaluation."""
    for record in records:
        if record.scores:
            yield (
                record.step,
                record.scores["train"].accuracy,
                record.scores["validation"].accuracy,
            )


def solved_step(scored: Sequence[tuple[int, float, float]]) -> int | None:
    """Return the first step of the last evaluations if each reached SOLVED, else None.

    A run ends as soon as ACCURATE_EVALUATIONS in a row reach it.
    """
    last = scored[-ACCURATE_EVALUATIONS:]
    held = len(last) == ACCURATE_EVALUATIONS and all(v >= SOLVED for _, _, v in last)
    return last[0][0] if held else None

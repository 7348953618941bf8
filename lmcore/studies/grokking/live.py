"""Train one model now and watch it, then ask it for answers."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from lmcore.experiments.experiment import Experiment, task_of, workspace
from lmcore.experiments.runner import with_bar
from lmcore.generation.probabilities import next_probabilities
from lmcore.model.gpt import GPT
from lmcore.report import plotting
from lmcore.studies.grokking.experiments import (
    CLASSIC,
    FAST,
    SENTENCE,
    drawn,
    seeded,
    table,
    variant,
)
from lmcore.studies.grokking.figures import TRAIN, VALIDATION
from lmcore.tasks.modular import OPERATIONS, parsed
from lmcore.training.checkpoint import load_weights, save_weights
from lmcore.training.loop import train
from lmcore.training.records import Record
from lmcore.training.runtime import Runtime

LIVE = "live"
NAMES = {"+": "plus", "-": "minus", "*": "times", "/": "over"}


def live_variant(
    operation: str = "/", p: int = 97, seed: int = 0, steps: int | None = None
) -> Experiment:
    """Return the fast recipe for another operation, modulus, seed or number of steps."""
    table = {"operations": (operation,), "p": p, "seed": seed}
    plan = (
        {}
        if steps is None
        else {"steps": steps, "warmup_steps": min(FAST.train.schedule.warmup_steps, steps // 5)}
    )
    return replace(variant(LIVE, task=table, train=plan), seed=seed)


def live_experiments(seed: int = 0) -> list[Experiment]:
    """Return the sentence, a sampled sum and the classic picture with a new seed."""
    names = (SENTENCE.name, "drawn-add-97", CLASSIC.name)
    chosen = [
        experiment for experiment in (SENTENCE, *drawn(), CLASSIC) if experiment.name in names
    ]
    return [run for experiment in chosen for run in seeded(experiment, [seed])]


def weights_path(operation: str, p: int) -> Path:
    """Return the file with the weights of the last live run of an operation.

    Raises:
        ValueError: a live run cannot learn this operation.
    """
    if operation not in NAMES:
        raise ValueError(f"ask for one of {', '.join(NAMES)}: not for {operation!r}")
    return workspace() / f"runs/grokking/live/{NAMES[operation]}-{p}.safetensors"


def watch(experiment: Experiment) -> Iterator[Record]:
    """Train experiment now, with a bar, and yield each record. Saves a `live_variant` for `ask`."""
    is_fast = experiment.name == LIVE
    path = weights_path(*table(experiment).operations, table(experiment).p) if is_fast else None
    torch.manual_seed(experiment.seed)
    model, source = GPT(experiment.model), task_of(experiment, experiment.task.prepare())
    runtime = Runtime().resolve(0, experiment.train.precision)
    records = train(model, experiment.train, source, runtime)
    yield from with_bar(records, experiment, source, runtime, True)
    if path:
        save_weights(path, model)


def ask(question: str) -> list[tuple[int, float]]:
    """Return every answer to a question such as 5 / 7 mod 97 with its probability, likeliest first.

    Raises:
        ValueError: the question cannot be read, has no answer, or no model was trained for it.
    """
    a, operation, b, p = parsed(question)
    experiment = live_variant(operation, table(FAST).p if p is None else p)
    p, path = table(experiment).p, weights_path(operation, table(experiment).p)
    for number in (a, b):
        if not 0 <= number < p:
            raise ValueError(f"{number} is none of the numbers modulo {p}: take 0 to {p - 1}")
    if operation == "/" and b == 0:
        raise ValueError(f"{a} / 0 has no answer: 0 is the one number without an inverse")
    if not path.exists():
        made_by = f"python -m lmcore live --operation {shlex.quote(operation)} --p {p}"
        raise ValueError(f"no model has learned {operation} modulo {p} here yet: {made_by}")
    model = GPT(experiment.model)
    load_weights(path, model)
    probabilities = next_probabilities(model, [a, b, p])[:p]
    best = probabilities.sort(descending=True)
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def right_answer(question: str) -> int:
    """Return the right answer to a question."""
    a, operation, b, p = parsed(question)
    p = table(FAST).p if p is None else p
    return int(OPERATIONS[operation](np.array([a]), np.array([b]), p)[0])


def plot_live(records: Sequence[Record]) -> Figure:
    """Return accuracy of training and validation so far on a log step axis."""
    fig, ax = plt.subplots()
    records = [record for record in records if record.scores]  # a run that diverges ends without
    steps = [max(record.step, 1) for record in records]
    for name, color, y in (("train", TRAIN, 0.62), ("validation", VALIDATION, 0.5)):
        if name in records[0].scores:
            right = [record.scores[name].accuracy for record in records]
            ax.plot(steps, right, "o-", color=color, ms=4)
            ax.annotate(name, (0.02, y), xycoords="axes fraction", color=color, fontsize=9)
    ax.set_ylim(0, 1.04)
    ax.set_ylabel("share of right answers")
    plotting.step_axis(ax, max(steps[-1], FAST.train.steps), log=True)
    return fig

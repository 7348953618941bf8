"""Which of a dozen named changes to a small model help, at equal steps and at equal time?

Hypothesis: at the published learning rate the models are far from trained, so the learning rate
decides more than any size; a smaller vocabulary is worth its time, and a larger embedding is not.

The published settings are those of a framework for comparing configurations. Each experiment
differs from `baseline` in what its name says. Where they are too slow, an eighth of them is run, as
`scaled` says, and a quarter of a few shows what the scale does. Three more experiments come from a
search: the baseline with its learning rate, schedule and weight decay tuned, and the best models
within half of its parameters and within half of its operations.

Scientific hyperparameters: vocabulary, d_model, layers, heads, share of the text, learning rate.
Nuisance hyperparameters: the seed of weights, dropout and batches.
Fixed hyperparameters: text, split, scored bytes, context, batch, steps, optimizer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lmcore.config import with_fields
from lmcore.experiments.experiment import Experiment
from lmcore.files import read_json
from lmcore.model.config import ModelConfig
from lmcore.tasks.file_text import GENERATED, FileTextConfig
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig

SEEDS = (1337, 1338, 1339)
VOCAB_SIZES = {"small": 10_000, "medium": 25_000, "baseline": 50_257}
BASELINE = Experiment(
    study="named",
    name="baseline",
    seed=SEEDS[0],
    task=FileTextConfig(vocab_size=VOCAB_SIZES["baseline"], scored_bytes=100_000),
    model=ModelConfig(
        vocab_size=VOCAB_SIZES["baseline"], context_length=64, d_model=256, n_layers=4, n_heads=4
    ),
    train=TrainConfig(
        steps=2_000,
        batch_size=16,
        optimizer=OptimizerConfig(lr=1e-4),
        schedule=ScheduleConfig(kind="constant"),
        evaluation=EvaluationConfig(eval_at=(240, 480, 1_000, 1_480), log_every=10, patience=10),
    ),
)
"""The published settings. What they leave open has this package's defaults."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What an experiment changes of the baseline."""

    description: str
    """What its name says, in one line."""
    fields: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """New values by dotted name."""


def vocabulary(size: str) -> Change:
    """Return the change to another size of vocabulary."""
    n = VOCAB_SIZES[size]
    fields = {"task.vocab_size": n, "model.vocab_size": n}
    return Change(description=f"a vocabulary of {n:,}", fields=fields)


CHANGES = {
    "baseline": Change(description="vocabulary 50,257, d_model 256, 4 layers, 4 heads, lr 1e-4"),
    "vocab_small": vocabulary("small"),
    "vocab_medium": vocabulary("medium"),
    "embd_small": Change(description="d_model 128", fields={"model.d_model": 128}),
    "embd_large": Change(description="d_model 512", fields={"model.d_model": 512}),
    "embd_xlarge": Change(description="d_model 768", fields={"model.d_model": 768}),
    "arch_deep": Change(description="8 layers", fields={"model.n_layers": 8}),
    "arch_wide": Change(description="8 heads", fields={"model.n_heads": 8}),
    "data_small": Change(description="10 % of the text", fields={"task.share": 0.1}),
    "data_medium": Change(description="50 % of the text", fields={"task.share": 0.5}),
    "lr_high": Change(description="learning rate 5e-4", fields={"train.optimizer.lr": 5e-4}),
    "lr_low": Change(description="learning rate 5e-5", fields={"train.optimizer.lr": 5e-5}),
}
"""What the experiments change; the settings of all but the last three are published."""
SEARCHED = {
    "baseline_tuned": "the baseline with learning rate, schedule, warmup and decay tuned",
    "optimal_small": "the best found with half of the baseline's parameters",
    "optimal_fast": "the best found with half of the baseline's operations",
}
"""What is found by a search, see `searches`."""
FOUND = Path(__file__).with_name("found.json")
"""What the searches that were made found: fields that differ from the baseline's."""
CHANGES |= {
    name: Change(description=SEARCHED[name], fields=fields)
    for name, fields in (read_json(FOUND) if FOUND.exists() else {}).items()
}
GRID = {
    f"{vocab}-{width}": Change(
        description=f"{CHANGES[vocab].description}, {CHANGES[width].description}",
        fields={**CHANGES[vocab].fields, **CHANGES[width].fields},
    )
    for vocab in ("vocab_small", "vocab_medium")
    for width in ("embd_small", "embd_large", "embd_xlarge")
}
"""Widths of the smaller vocabularies. They ask how the best width goes with the vocabulary."""
GROUPS = {
    "quick": ("baseline", "vocab_small", "embd_small"),
    "vocab": ("baseline", "vocab_small", "vocab_medium"),
    "embedding": ("baseline", "embd_small", "embd_large", "embd_xlarge"),
    "architecture": ("baseline", "arch_deep", "arch_wide"),
    "data": ("baseline", "data_small", "data_medium"),
    "lr": ("baseline", "lr_high", "lr_low"),
    "all": tuple(CHANGES),
}
"""What `batch` runs, by name."""
QUARTERS = ("baseline", "vocab_small", "vocab_medium", "embd_small")
"""Experiments of which a quarter is run too, with the first seed."""
PARTS = {"quarter": 4, "eighth": 8}
"""What width, vocabulary, text and steps are divided by, by the word that names begin with."""


def named(name: str, seed: int = SEEDS[0]) -> Experiment:
    """Return the experiment of this name at its published size."""
    changed = with_fields(BASELINE, (CHANGES | GRID)[name].fields)
    return replace(changed, name=name, seed=seed)


def scaled(experiment: Experiment, part: str) -> Experiment:
    """Return a quarter or an eighth of an experiment, in width, vocabulary, text and steps.

    The learning rate is as many times as high: the best one for hidden matrices under Adam goes
    with 1 / width (Yang et al. 2022, 2203.03466). Depth, heads, context and batch stay.
    """
    by = PARTS[part]
    vocab_size = experiment.model.vocab_size // by
    evaluation, steps = experiment.train.evaluation, experiment.train.steps
    if steps is None or not isinstance(experiment.task, FileTextConfig):
        raise ValueError(
            f"{experiment.name} has no {part}: that takes a text file and a length in steps"
        )
    fields = {
        "task.vocab_size": vocab_size,
        "task.share": experiment.task.share / by,
        "model.vocab_size": vocab_size,
        "model.d_model": experiment.model.d_model // by,
        "train.steps": steps // by,
        "train.optimizer.lr": by * experiment.train.optimizer.lr,
        "train.schedule.warmup_steps": experiment.train.schedule.warmup_steps // by,
        "train.evaluation.eval_at": tuple(step // by for step in evaluation.eval_at),
    }
    return replace(with_fields(experiment, fields), name=scaled_name(experiment.name, part))


def scaled_name(name: str, part: str) -> str:
    """Return the name of a quarter or an eighth of an experiment."""
    return f"{part}-{name}"


def small(experiment: Experiment) -> Experiment:
    """Return the version of an experiment that takes seconds, on generated text.

    Experiments that differ still do, but for sizes of vocabulary, which come closer together.
    """
    vocab_size = 257 + experiment.model.vocab_size // 500
    fields = {
        "task.text": GENERATED,
        "task.vocab_size": vocab_size,
        "task.scored_bytes": 4_000,
        "model.vocab_size": vocab_size,
        "model.context_length": 32,
        "model.d_model": max(experiment.model.d_model // 8, 2 * experiment.model.n_heads),
        "train.steps": 24,
        "train.batch_size": 8,
        "train.optimizer.lr": 10 * experiment.train.optimizer.lr,
        "train.schedule.warmup_steps": min(experiment.train.schedule.warmup_steps, 4),
        "train.evaluation.eval_at": (4, 12),
    }
    return replace(with_fields(experiment, fields), scale="smoke")


def all_experiments(seeds: Sequence[int] = SEEDS) -> list[Experiment]:
    """Return the experiments of the notebook: an eighth of all with each seed, an eighth of the
    grid of widths and vocabularies, then the quarters.

    Those that have run are shown.
    """
    names = (*GROUPS["all"], *GRID)
    eighths = [scaled(named(name, seed), "eighth") for seed in seeds for name in names]
    return [*eighths, *(scaled(named(name), "quarter") for name in QUARTERS)]

"""What decides how well a small model writes stories, and what tells overfitting from a bug?

Hypothesis: the learning rate, the norm and positions matter much, the shape of the MLP little. Real
overfitting begins once text is read again; validation tokens of another tokenizer look like it from
the first steps on.

The study has two sizes. The log is the run that a learner's report describes: 4 layers, 256
features, 1,000 steps of 64 x 256 tokens. Everything else is done on a proxy, a model of half a
million parameters: it reads half a million tokens where curves are drawn, and half as many where
one thing is changed at a time.

Scientific hyperparameters: what GROUPS change, one thing at a time.
Nuisance hyperparameters: the seed of weights and batches; the learning rate, which is swept for the
proxy and not tuned again for each change.
Fixed hyperparameters: stories, splits, tokenizer, context, tokens read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lmcore.config import with_fields
from lmcore.experiments.experiment import Experiment, seeded
from lmcore.experiments.run_folder import Run
from lmcore.model.config import ModelConfig
from lmcore.tasks.stories import StoriesConfig
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig

SEEDS = (1501, 1502, 1503)
"""Chosen before any of them was run."""
STEPS = 500
"""Optimizer steps of the proxy at its own batch size."""
EVERY = 50
"""Steps between scores, where curves are drawn."""
BASELINE = Experiment(
    study="stories",
    name="baseline",
    seed=SEEDS[0],
    task=StoriesConfig(vocab_size=2_000, n_validation_stories=200, n_test_stories=200),
    model=ModelConfig(
        vocab_size=2_000,
        context_length=128,
        d_model=96,
        n_layers=3,
        n_heads=3,
        d_ff=256,
        activation="swiglu",
        positions="rope",
        norm="rms",
        bias=False,
        dropout=0.0,
    ),
    train=TrainConfig(
        batch_size=8,
        n_tokens=STEPS * 8 * 128,
        optimizer=OptimizerConfig(lr=4e-3, weight_decay=0.1),
        schedule=ScheduleConfig(warmup_steps=25, min_lr_ratio=0.1),
        evaluation=EvaluationConfig(log_every=5, eval_at=(250,)),
    ),
)
"""The proxy. Its MLP has as many weights as a plain one of 4 d_model."""
REFERENCE = replace(
    BASELINE,
    name="reference",
    train=with_fields(BASELINE.train, n_tokens=STEPS // 2 * 8 * 128, eval_at=()),
)
"""The proxy at half its tokens, which single changes are compared with. Its warmup is as long."""
LOG = Experiment(
    study="stories",
    name="log",
    seed=SEEDS[0],
    task=StoriesConfig(),
    model=replace(
        BASELINE.model,
        vocab_size=10_000,
        context_length=256,
        d_model=256,
        n_layers=4,
        n_heads=4,
        d_ff=None,
    ),
    train=TrainConfig(
        batch_size=64,
        steps=1_000,
        optimizer=OptimizerConfig(lr=2e-3, weight_decay=0.1),
        schedule=ScheduleConfig(warmup_steps=50, min_lr_ratio=0.1),
        evaluation=EvaluationConfig(log_every=10, eval_every=100, keep_weights=True),
    ),
)
"""The run of the report: 16.4 million tokens, about five times through these stories."""
FEW, MORE = 50, 500
"""Stories that the proxy reads about 50 times, as the log would read a tenth of its text, and
about five times, as the log reads all of it.
"""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What an experiment changes: fields of the text, the model and the training plan."""

    task: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


SCORED = {"eval_every": EVERY, "eval_at": ()}
KEPT = SCORED | {"keep_weights": True}
FEW_STORIES = {"n_train_stories": FEW}


def _batch(batch_size: int, **train: Any) -> Change:
    """Return the change of batch size; the warmup keeps its share of the steps."""
    steps = STEPS // 2 * REFERENCE.train.batch_size // batch_size
    plan = {"batch_size": batch_size, "warmup_steps": steps // 10}
    return Change(train=plan | {"log_every": max(1, steps // 50)} | train)


def _width(times: int) -> Change:
    return Change(model={"activation": "silu", "d_ff": times * BASELINE.model.d_model})


def _lr(lr: float) -> Change:
    return Change(train={"lr": lr})


RATES = (1e-3, 2e-3, 8e-3, 1.6e-2, 3.2e-2, 1.28e-1, 5.12e-1, 2.048)
"""The learning rates tried besides the proxy's."""
CURVES: dict[str, dict[str, Change]] = {
    "overfitting": {
        "baseline": Change(train=KEPT),
        "other-tokenizer": Change(task={"validation_tokenizer": "validation"}, train=SCORED),
        "few-stories": Change(task=FEW_STORIES, train=KEPT),
    },
    "repairs": {
        "few-stories-early-stopping": Change(task=FEW_STORIES, train=SCORED | {"patience": 2}),
        "few-stories-dropout": Change(task=FEW_STORIES, model={"dropout": 0.3}, train=SCORED),
        "few-stories-decay": Change(task=FEW_STORIES, train=SCORED | {"weight_decay": 2.0}),
        "few-stories-smaller": Change(
            task=FEW_STORIES,
            model={"d_model": 32, "n_layers": 2, "n_heads": 2, "d_ff": 86},
            train=SCORED,
        ),
        "more-stories": Change(task={"n_train_stories": MORE}, train=SCORED),
    },
}
"""Changes to the proxy whose curves are drawn, by question."""
SWEEPS: dict[str, dict[str, Change]] = {
    "learning rate": {REFERENCE.name: Change(), **{f"lr-{lr:g}": _lr(lr) for lr in RATES}},
    "norms and positions": {
        "post-norm": Change(model={"norm_at": "post"}),
        "post-norm-lr-0.001": Change(model={"norm_at": "post"}, train={"lr": 1e-3}),
        "no-norm": Change(model={"norm": "none"}),
        "no-norm-lr-0.001": Change(model={"norm": "none"}, train={"lr": 1e-3}),
        "no-positions": Change(model={"positions": "none"}),
    },
    "MLP": {
        "silu-1x": _width(1),
        "silu-2x": _width(2),
        "silu-4x": _width(4),
        "silu-8x": _width(8),
        "parallel": Change(model={"parallel_residual": True}),
        "silu-4x-lr-0.002": replace(_width(4), train={"lr": 2e-3}),
        "parallel-lr-0.002": Change(model={"parallel_residual": True}, train={"lr": 2e-3}),
    },
    "dropout": {
        "dropout-0.1": Change(model={"dropout": 0.1}),
        "dropout-0.3": Change(model={"dropout": 0.3}),
    },
    "batch size": {
        "batch-1": _batch(1),
        "batch-1-lr": _batch(1, lr=4e-3 / 8**0.5),
        "batch-4": _batch(4),
        "batch-32": _batch(32),
        "batch-32-lr": _batch(32, lr=8e-3),
    },
}
"""Single changes to the reference, by question."""
GROUPS = CURVES | SWEEPS


def proxy(name: str) -> Experiment:
    """Return the experiment on the proxy called name.

    Raises:
        ValueError: there is none.
    """
    for groups, base in ((CURVES, BASELINE), (SWEEPS, REFERENCE)):
        changes = {name: change for group in groups.values() for name, change in group.items()}
        if name in changes:
            return replace(
                base,
                name=name,
                task=replace(base.task, **changes[name].task),
                model=replace(base.model, **changes[name].model),
                train=with_fields(base.train, changes[name].train),
            )
    known = ", ".join(name for group in GROUPS.values() for name in group)
    raise ValueError(f"no experiment is called {name!r}; there are: {known}")


def group(name: str) -> list[Experiment]:
    """Return the experiments of a group, without seeds of their own."""
    return [proxy(each) for each in GROUPS[name]]


def sweep_names() -> list[str]:
    """Return the names of the reference and of its single changes."""
    return [name for group in SWEEPS.values() for name in group]


def base_of(name: str) -> str:
    """Return the name of the experiment that a single change is compared with.

    A change that is tried at another learning rate too is compared with the reference at that rate.
    """
    change, _, rate = name.rpartition("-lr-")
    return f"lr-{rate}" if change and rate else REFERENCE.name


def compared(runs: Sequence[Run], name: str) -> list[Run]:
    """Return the runs of a group of single changes, and those that they are compared with."""
    names = {REFERENCE.name, *SWEEPS[name], *(base_of(change) for change in SWEEPS[name])}
    return [run for run in runs if run.config.name in names]


def proxies(*names: str, most: int = len(SEEDS)) -> list[Experiment]:
    """Return the experiments of these groups, by default of all, with at most `most` seeds each."""
    chosen = [experiment for name in names or GROUPS for experiment in group(name)]
    return seeded(chosen, SEEDS[:most])


def all_experiments() -> list[Experiment]:
    """Return every experiment on the proxy, and the log."""
    return [*proxies(), *seeded([LOG], SEEDS)]

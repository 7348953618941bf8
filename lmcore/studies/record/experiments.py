"""How low does honest work get on headlines, one change at a time from the baseline?

Hypothesis: the optimizer and its schedule bring most of it, then positions; what is left comes from
many small changes, most of which buy nothing.

The ladder is climbed on a proxy: a smaller model, all 90,000 training titles, one epoch in the
place of seven, and a tokenizer that has seen training titles only. Learning rates are tuned on
another seed, validation selects, and the test titles decide nothing. What helps only once titles
are read again, such as dropout or another order in each epoch, does not show in one epoch.

Scientific hyperparameters: what the rungs of LADDER change, one change a rung.
Nuisance hyperparameters: the learning rate, tuned for AdamW and for Muon over as many runs; the
seed of weights.
Fixed hyperparameters: titles, split, context, the one epoch, no dropout.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from lmcore.config import with_fields
from lmcore.experiments.experiment import Experiment, seeded
from lmcore.model.config import ModelConfig
from lmcore.model.mlp import swiglu_hidden_size
from lmcore.studies.baseline.experiments import CHALLENGE
from lmcore.tasks.titles import TitlesConfig

SEEDS = (701, 702, 703)
"""Chosen before any of them was run."""
TUNING_SEED = 71
"""Learning rates are chosen on this seed, and it appears in no other result."""
GIVEN = Experiment(
    study="record",
    name="sgd-as-given",
    seed=SEEDS[0],
    task=TitlesConfig(vocab_size=4_000, tokenizer_text="train"),
    model=ModelConfig(
        vocab_size=4_000, d_model=128, n_layers=4, n_heads=4, d_ff=512, dropout=0.0
    ),
    train=with_fields(CHALLENGE, batch_size=32, epochs=1, eval_at=(), log_every=10),
)  # fmt: skip
"""The baseline's recipe on the proxy, in batches of half its rows, which makes about 360 steps."""
RATES = {"adamw": (2e-3, 4e-3, 8e-3), "muon": (1e-2, 2e-2, 4e-2)}
"""The learning rates that a rung is tuned over."""
TUNED = {"adamw": 4e-3, "muon": 2e-2}
"""The learning rate that `best_rate` finds in the runs of `tuning`."""
WARMUP = 72
"""Steps, a fifth of all, from the rung of the schedule on."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One change: the rung it is made on, and the fields of the experiment that it sets."""

    base: str
    task: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


def vocabulary(base: str, vocab_size: int) -> Rung:
    """Return the rung of another vocabulary size, which corpus and model share."""
    return Rung(base=base, task={"vocab_size": vocab_size}, model={"vocab_size": vocab_size})


def batch(base: str, batch_size: int) -> Rung:
    """Return the rung of another batch size; the warmup keeps its share of the steps."""
    warmup = WARMUP * GIVEN.train.batch_size // batch_size
    return Rung(base=base, train={"batch_size": batch_size, "warmup_steps": warmup})


LADDER = {
    "adamw": Rung(
        base="sgd-as-given",
        train={
            "optimizer.kind": "adamw",
            "lr": TUNED["adamw"],
            "weight_decay": 0.1,
            "warmup_steps": 18,
        },
    ),
    "rope-rmsnorm": Rung(base="adamw", model={"positions": "rope", "norm": "rms"}),
    "wsd": Rung(
        base="rope-rmsnorm",
        train={"schedule.kind": "wsd", "decay_fraction": 0.4, "warmup_steps": WARMUP},
    ),
    "muon": Rung(
        base="wsd", train={"optimizer.kind": "muon", "momentum": 0.95, "lr": TUNED["muon"]}
    ),
    "zero-residual": Rung(base="muon", model={"initialisation": "zero_residual"}),
    "scaled-residual": Rung(base="muon", model={"initialisation": "gpt2"}),
    "no-biases": Rung(base="muon", model={"bias": False}),
    "batch-16": batch("muon", 16),
    "batch-64": batch("muon", 64),
    "swiglu": Rung(base="muon", model={"activation": "swiglu", "d_ff": swiglu_hidden_size(128)}),
    "deeper": Rung(base="muon", model={"n_layers": 8, "d_model": 96, "n_heads": 3, "d_ff": 384}),
    "vocabulary-8k": vocabulary("muon", 8_000),
    "vocabulary-16k": vocabulary("muon", 16_000),
    "unigram": Rung(base="muon", task={"tokenizer": "unigram"}),
    "within-titles": Rung(base="muon", train={"within_documents": True}),
    "qk-norm": Rung(base="muon", model={"qk_norm": True}),
}
"""Each rung after the one it is made on. A rung that others are made on was kept."""
RECORD = "muon"
"""The highest rung that was kept."""


def rung(name: str, **train: Any) -> Experiment:
    """Return the experiment of a rung: its base with the rung's changes, and those of train."""
    if name == GIVEN.name:
        return GIVEN
    step = LADDER[name]
    base = rung(step.base)
    return replace(
        base,
        name=name,
        task=replace(base.task, **step.task),
        model=replace(base.model, **step.model),
        train=with_fields(base.train, step.train | train),
    )


def tuning() -> list[Experiment]:
    """Return the rungs whose learning rate is tuned at each of their rates."""
    return [
        replace(rung(name, lr=lr), name=tuning_name(name, lr), seed=TUNING_SEED)
        for name, rates in RATES.items()
        for lr in rates
    ]


def tuning_name(name: str, lr: float) -> str:
    """Return the name of the run that tries a rung at a learning rate."""
    return f"tune-{name}-lr{lr:g}"


def all_experiments() -> list[Experiment]:
    """Return the tuning, and every rung from the baseline up."""
    rungs = [GIVEN, *(rung(name) for name in LADDER)]
    return [*tuning(), *seeded(rungs, SEEDS)]

"""What does swapping SGD for AdamW buy on headlines, and does it depend on how each is tuned?

Hypothesis: the challenge's SGD is mostly untuned, so that a learning rate alone closes part of the
gap; AdamW at its best stays well ahead of SGD at its best.

Scientific hyperparameters: optimizer; around AdamW its betas, decay, warmup, clipping, schedule.
Nuisance hyperparameters: the learning rate, tuned over as many runs for each; the seed of weights.
Fixed hyperparameters: titles, split, tokenizer, shape, batches, one epoch, no dropout.
"""

from dataclasses import dataclass, replace
from typing import Any

from lmcore.config import with_fields
from lmcore.experiments.experiment import Experiment, seeded, slug
from lmcore.model.config import ModelConfig
from lmcore.studies.baseline import experiments as baseline
from lmcore.studies.baseline.experiments import CHALLENGE
from lmcore.studies.baseline.experiments import SEEDS as LARGE_SEEDS
from lmcore.tasks.titles import TitlesConfig

SEEDS = (101, 102, 103)
"""Chosen before any of them was run."""
TUNING_SEEDS = (11, 12)
"""Seeds for choosing learning rates. Nothing else is shown of them."""
GIVEN = Experiment(
    study="adamw_swap",
    name="sgd-as-given",
    seed=SEEDS[0],
    task=TitlesConfig(vocab_size=4_000),
    model=ModelConfig(
        vocab_size=4_000, d_model=128, n_layers=2, n_heads=4, d_ff=512, dropout=0.0
    ),
    train=with_fields(
        CHALLENGE,
        {"batch_size": 16, "epochs": 1, "eval_at": (5, 20, 60, 150, 300, 500), "log_every": 5},
    ),
)  # fmt: skip
"""The baseline's recipe at the budget of a sweep: a smaller model, one epoch, small batches."""
WARMUP = 36
"""Warmup steps of every tuned run, out of 718 steps."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """An optimizer: what it changes in training, and the learning rates it is tuned over."""

    rates: tuple[float, ...]
    changes: dict[str, Any]


OPTIMIZERS = {
    "SGD": Contender(rates=(0.25, 0.5, 1.0, 2.0, 4.0), changes={}),
    "SGD with momentum": Contender(rates=(0.05, 0.1, 0.2, 0.4, 0.8), changes={"momentum": 0.9}),
    "AdamW": Contender(
        rates=(1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
        changes={"optimizer.kind": "adamw", "weight_decay": 0.1},
    ),
    "Muon and AdamW": Contender(
        rates=(2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2),
        changes={"optimizer.kind": "muon", "momentum": 0.95, "weight_decay": 0.1},
    ),
}
TUNED: dict[str, float] = {
    "SGD": 1.0,
    "SGD with momentum": 0.4,
    "AdamW": 4e-3,
    "Muon and AdamW": 1e-2,
}
"""The learning rate that `best_rate` finds in the runs of `tuning`."""
ABLATIONS: dict[str, dict[str, Any]] = {
    "warmup, stable, decay": {"schedule.kind": "wsd"},
    "constant": {"schedule.kind": "constant"},
    "betas 0.9, 0.98": {"betas": (0.9, 0.98)},
    "betas 0.9, 0.999": {"betas": (0.9, 0.999)},
    "no decay": {"weight_decay": 0.0},
    "decay 1": {"weight_decay": 1.0},
    "no clipping": {"max_grad_norm": None},
    "long warmup": {"warmup_steps": 4 * WARMUP},
    "no warmup": {"warmup_steps": 0},
}
"""Single changes to AdamW as tuned, by the name that tables show."""
LARGE_RATES = {"SGD": (0.5, 1.0, 2.0, 4.0), "AdamW": (5e-4, 1e-3, 2e-3, 4e-3)}
"""The learning rates that were tried at the baseline's size."""
LARGE_TUNED = {"SGD": 1.0, "AdamW": 1e-3}
"""The best learning rates in the runs of `large_tuning`."""


def variant(name: str, **changes: Any) -> Experiment:
    """Return GIVEN with another name and these changes to its training."""
    return replace(GIVEN, name=name, train=with_fields(GIVEN.train, changes))


def sweep_variant(name: str, optimizer: str, lr: float, **changes: Any) -> Experiment:
    """Return an optimizer's experiment that is only scored at the end."""
    plan = {"eval_at": (), "log_every": 100_000, "warmup_steps": WARMUP, "lr": lr}
    return variant(name, **plan | OPTIMIZERS[optimizer].changes | changes)


def tuning() -> list[Experiment]:
    """Return each optimizer at each of its learning rates."""
    return [
        sweep_variant(f"tune-{slug(name)}-lr{lr:g}", name, lr)
        for name, contender in OPTIMIZERS.items()
        for lr in contender.rates
    ]


def compared() -> list[Experiment]:
    """Return SGD as given and each optimizer as tuned, scored at many steps."""
    tuned = [
        variant(f"tuned-{slug(name)}", warmup_steps=WARMUP, lr=lr, **OPTIMIZERS[name].changes)
        for name, lr in TUNED.items()
    ]
    return [GIVEN, *tuned]


def ablations() -> list[Experiment]:
    """Return the single changes of AdamW as tuned."""
    return [
        sweep_variant(f"ablation-{slug(name)}", "AdamW", TUNED["AdamW"], **changes)
        for name, changes in ABLATIONS.items()
    ]


def sweeps(most: int = len(SEEDS)) -> list[Experiment]:
    """Return every experiment at the budget of a sweep, with at most `most` seeds each."""
    return [
        *seeded(compared(), SEEDS[:most]),
        *seeded(tuning(), TUNING_SEEDS[:most]),
        *seeded(ablations(), SEEDS[:most]),
    ]


def large_variant(name: str, optimizer: str, lr: float, **changes: Any) -> Experiment:
    """Return the baseline with another optimizer and a warmup."""
    plan = {"warmup_steps": 49, "lr": lr} | OPTIMIZERS[optimizer].changes | changes
    model, train = ModelConfig(vocab_size=16_000, d_ff=2048), with_fields(CHALLENGE, plan)
    return replace(GIVEN, name=name, task=TitlesConfig(), model=model, train=train)


def large_tuning() -> list[Experiment]:
    """Return the optimizers that are tuned at the baseline's size, at each of their rates."""
    rare = {"eval_at": (), "log_every": 100_000}
    tried = [
        large_variant(f"large-tune-{slug(name)}-lr{lr:g}", name, lr, **rare)
        for name, rates in LARGE_RATES.items()
        for lr in rates
    ]
    return seeded(tried, TUNING_SEEDS[:1])


def large() -> list[Experiment]:
    """Return the swap at the baseline's size, and the tuning of its learning rates.

    These models are larger than those of the sweeps, so no table or figure mixes them.
    """
    tuned = [
        large_variant(f"large-{slug(name)}-lr{lr:g}", name, lr) for name, lr in LARGE_TUNED.items()
    ]
    return [*seeded(tuned, LARGE_SEEDS), *large_tuning()]


def all_experiments() -> list[Experiment]:
    """Return the sweeps and the runs at the baseline's size."""
    return [*sweeps(), *large()]


def compared_with() -> list[Experiment]:
    """Return the baseline, whose loss the runs at its size are compared with."""
    return baseline.all_experiments()


NAMES = {"SGD as given": GIVEN.name} | {name: f"tuned-{slug(name)}" for name in OPTIMIZERS}
"""The names of the compared experiments, by the name that tables show."""

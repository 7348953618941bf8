"""When does a small transformer stop memorising a table of arithmetic and solve it?

Hypothesis: what a report on grokking could not make happen in 60,000 epochs takes a few hundred
steps once the logits' scale is fixed; how late generalisation comes follows the share of the table
seen in training and the weight decay, not the modulus.

Scientific hyperparameters: operation, modulus, share of the table, weight decay, head, depth.
Nuisance hyperparameters: the seed, which draws weights, sets and batches; learning rate.
Fixed hyperparameters: 128 features without norms, answer-only loss, AdamW's betas.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lmcore.config import with_fields
from lmcore.experiments.experiment import Experiment, slug
from lmcore.model.config import ModelConfig
from lmcore.tasks.modular import LENGTH, ModularConfig
from lmcore.tasks.sentence import SentenceConfig
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig

SEEDS = (101, 102, 103, 104, 105)
"""Chosen before any of them was run."""
DRAWN_SEEDS = (111, 112, 113)
"""Seeds of the report's sampling. Its recipe was changed after other seeds had been run."""
TUNING_SEEDS = (11, 12)
"""Seeds for tuning. The study's recipes were tuned on 13 as well."""
SOLVED = 0.99
"""The validation accuracy that counts as solved, if ACCURATE_EVALUATIONS in a row reach it."""
MODULI = (97, 113)
SUMS = {"add": ("+",), "subtract": ("-",), "mixed": ("+", "-")}
N_DRAWN = 5_000
DECAYS = (0.0, 0.3, 1.0, 2.0)
FRACTIONS = (0.2, 0.25, 0.3, 0.4, 0.5)
SMALLEST = (0.1, 0.15, 0.2)


def steps_to(last: int, n: int, first: int = 1) -> tuple[int, ...]:
    """Return about n steps from first to last, evenly spaced on a log axis."""
    return tuple(sorted({round(step) for step in np.geomspace(first, last, n)}))


FAST = Experiment(
    study="grokking",
    name="division-fast",
    seed=SEEDS[0],
    task=ModularConfig(operations=("/",), p=97, seed=SEEDS[0]),
    model=ModelConfig(
        vocab_size=98, context_length=LENGTH, d_model=128, n_layers=1, n_heads=4, d_ff=512,
        activation="relu", norm="none", bias=False, tie_embeddings=False, dropout=0.0,
        initialisation="gpt2", initial_scale=4.0, head_scale=10.0,
    ),
    train=TrainConfig(
        batch_size=512, steps=400, precision="float32",
        optimizer=OptimizerConfig(
            lr=7e-3, betas=(0.9, 0.98), weight_decay=0.7, decay_embeddings=True, max_grad_norm=None
        ),
        schedule=ScheduleConfig(kind="wsd", warmup_steps=10, decay_fraction=0.35),
        evaluation=EvaluationConfig(eval_at=(1, 3, 10), eval_every=20, log_every=100_000),
    ),
)  # fmt: skip
SENTENCE = Experiment(
    study="grokking",
    name="sentence",
    seed=SEEDS[0],
    task=SentenceConfig(sentence="I love machine learning"),
    model=ModelConfig(
        vocab_size=14, context_length=16, d_model=32, n_layers=1, n_heads=2, d_ff=128, dropout=0.0
    ),
    train=TrainConfig(
        batch_size=1, order="uniform", steps=1_000, precision="float32",
        optimizer=OptimizerConfig(lr=3e-3, weight_decay=0.0),
        schedule=ScheduleConfig(kind="constant"),
        evaluation=EvaluationConfig(eval_at=steps_to(900, 18), log_every=100_000),
    ),
)  # fmt: skip


def variant(
    name: str,
    base: Experiment = FAST,
    *,
    task: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
) -> Experiment:
    """Return base with another name and these changes to its task, model and training."""
    table = replace(base.task, **task or {})
    shape = {"vocab_size": table.vocab_size} | (model or {})
    return replace(
        base,
        name=name,
        task=table,
        model=replace(base.model, **shape),
        train=with_fields(base.train, train or {}),
    )


CONSTANT = {"schedule": ScheduleConfig(kind="constant", warmup_steps=10)}
STEADY = variant(
    "steady",
    train={"lr": 3e-3, "weight_decay": 1.0, "steps": 1_000, "stop_accuracy": SOLVED} | CONSTANT,
)
"""The fast recipe at a constant learning rate. A run ends when it has solved its table."""
CLASSIC = variant(
    "classic",
    task={"train_fraction": 0.4},
    model={"head_scale": None},
    train=CONSTANT
    | {"lr": 3e-3, "steps": 3_000, "eval_at": steps_to(2_500, 48), "eval_every": 100},
)
SCARCE = variant(
    "scarce",
    model={"head_scale": 12.0},
    train={"lr": 5e-3, "weight_decay": 1.25, "decay_fraction": 0.4, "steps": 8_000}
    | {"eval_at": (), "eval_every": 100, "stop_accuracy": 0.995},
)
"""For little data: larger logits, more decay and a falling learning rate. At a constant rate the
model generalises and loses it again several times.
"""
REPORT = variant(
    "report-500",
    SCARCE,
    task={"train_fraction": 500 / 9_312},
    train={"steps": 5_000, "eval_at": steps_to(4_500, 24), "eval_every": None},
)
INSIDE = variant("inside", CLASSIC, train={"keep_weights": True})
SHOWN = ("division-fast", "classic", "report-500", "drawn-add-97", "drawn-mixed-113")
"""Experiments whose settings the notebook compares."""


def drawn() -> list[Experiment]:
    """Return the report's sampling: 5,000 rows for each modulus, of each operation and of both.

    For both operations, each modulus also gets the number of rows with the other's coverage.
    """
    out = []
    for p in MODULI:
        for name, operations in SUMS.items():
            table = {"operations": operations, "p": p, "train_fraction": None, "n_samples": N_DRAWN}
            if name == "mixed":  # half as many pairs of each operation ask for more of both
                more = {"model": {"head_scale": 16.0}, "train": {"weight_decay": 1.5}}
            else:
                more = {}
            out.append(variant(f"drawn-{name}-{p}", SCARCE, task=table, **more))
    for this, other in (MODULI, MODULI[::-1]):
        source = next(e for e in out if e.name == f"drawn-mixed-{this}")
        n = round(N_DRAWN * this * (this + 1) / (other * (other + 1)))
        out.append(variant(f"drawn-mixed-{this}-as-{other}", source, task={"n_samples": n}))
    return out


def clean() -> list[Experiment]:
    """Return the same operations and moduli with disjoint sets."""
    return [
        variant(
            f"clean-{name}-{p}",
            STEADY,
            task={"operations": operations, "p": p, "train_fraction": 0.3},
            train={"steps": 1_500},
        )
        for p in MODULI
        for name, operations in SUMS.items()
    ]


def phases() -> list[Experiment]:
    """Return every weight decay with every share of the table."""
    return [
        variant(
            f"phase-decay{decay:g}-train{fraction:g}",
            STEADY,
            task={"train_fraction": fraction},
            train={"weight_decay": decay, "eval_every": 50, "eval_at": ()},
        )
        for decay in DECAYS
        for fraction in FRACTIONS
    ]


ABLATIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no warmup": {"train": {"warmup_steps": 0}},
    "warmup 100": {"train": {"warmup_steps": 100}},
    "lr 0.001": {"train": {"lr": 1e-3}},
    "lr 0.01": {"train": {"lr": 1e-2}},
    "batch 256": {"train": {"batch_size": 256}},
    "batch 1024": {"train": {"batch_size": 1024}},
    "initial scale 2": {"model": {"initial_scale": 2.0}},
    "initial scale 8": {"model": {"initial_scale": 8.0}},
    "two layers": {"model": {"n_layers": 2}},
    "plain head": {"model": {"head_scale": None}},
    "plain head, no decay": {"model": {"head_scale": None}, "train": {"weight_decay": 0.0}},
    "plain head, no decay, loss in float64": {
        "model": {"head_scale": None},
        "train": {"weight_decay": 0.0, "loss": "softmax-float64"},
    },
}
"""Single changes to the steady recipe, by the name that tables show."""


def ablations() -> list[Experiment]:
    """Return the steady recipe and its single changes."""
    return [
        variant(f"ablation-{slug(name)}", STEADY, **changes) for name, changes in ABLATIONS.items()
    ]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method that is said to speed up grokking: its changes to the training of PLAIN, and the
    parameter that is tuned together with the learning rate.
    """

    parameter: str
    values: tuple[float, float]
    changes: dict[str, Any] = field(default_factory=dict)

    def setting(self, lr: float, value: float) -> dict[str, dict[str, Any]]:
        """Return the changes for a learning rate and a value of the parameter."""
        plan = {"lr": lr} | self.changes
        if self.parameter == "head_scale":
            return {"train": plan, "model": {"head_scale": value}}
        return {"train": plan | {self.parameter: value}}


MUON = {"optimizer.kind": "muon", "momentum": 0.95}
METHODS = {
    "AdamW": Method(parameter="weight_decay", values=(0.5, 1.0)),
    "Muon": Method(parameter="weight_decay", values=(0.5, 1.0), changes=MUON),
    "Grokfast": Method(parameter="grokfast_lambda", values=(0.5, 2.0)),
    "StableMax": Method(parameter="weight_decay", values=(0.0, 0.5), changes={"loss": "stablemax"}),
    "orthogonal gradients": Method(
        parameter="weight_decay", values=(0.0, 0.5), changes={"orthogonal_gradients": True}
    ),
    "cosine head": Method(parameter="head_scale", values=(8.0, 12.0)),
    "cosine head, Muon": Method(parameter="head_scale", values=(8.0, 12.0), changes=MUON),
}
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
PLAIN = variant("plain", STEADY, model={"head_scale": None})


LONG = variant("long", PLAIN, train={"steps": 2_000})
"""Twice the steps of the tuning, so that methods which came close can solve their table."""


def tuning() -> list[Experiment]:
    """Return each method at each learning rate with each value of its parameter."""
    return [
        variant(f"tune-{slug(name)}-lr{lr:g}-{value:g}", PLAIN, **method.setting(lr, value))
        for name, method in METHODS.items()
        for lr in RATES
        for value in method.values
    ]


TUNED: dict[str, tuple[float, float]] = {
    "AdamW": (1e-2, 0.5),
    "Muon": (3e-2, 1.0),
    "Grokfast": (3e-3, 2.0),
    "StableMax": (3e-3, 0.5),
    "orthogonal gradients": (1e-2, 0.0),
    "cosine head": (3e-3, 8.0),
    "cosine head, Muon": (1e-2, 12.0),
}
"""The learning rate and parameter that `best_setting` finds in the runs of `tuning`."""


def compared() -> list[Experiment]:
    """Return each method as it was tuned."""
    return [
        variant(f"method-{slug(name)}", LONG, **METHODS[name].setting(*setting))
        for name, setting in TUNED.items()
    ]


def smallest() -> list[Experiment]:
    """Return smaller and smaller shares of the table, with more steps."""
    return [
        variant(
            f"smallest-train{fraction:g}",
            SCARCE,
            task={"train_fraction": fraction},
            train={"steps": 5_000},
        )
        for fraction in SMALLEST
    ]


DELAY_SHARES = (0.2, 0.3, 0.4, 0.5)
DELAY_METHODS = {
    ("plain", "AdamW"): "AdamW",
    ("plain", "Muon"): "Muon",
    ("cosine", "AdamW"): "cosine head",
    ("cosine", "Muon"): "cosine head, Muon",
}
"""Head and optimizer of the delay grid, and the method whose tuned setting they take."""
DELAY = variant("delay", PLAIN, train={"steps": 5_000, "eval_at": (), "eval_every": 20})


def delay_name(head: str, optimizer: str, share: float) -> str:
    """Return the name of one cell of the delay grid."""
    return f"delay-{head}-{slug(optimizer)}-share{share:g}"


def delays() -> list[Experiment]:
    """Return each head with each optimizer at each share of the table, and nothing else changed.

    Learning rate and decay were tuned at half of the table, and are the same for all shares.
    """
    return [
        variant(
            delay_name(head, optimizer, share),
            DELAY,
            task={"train_fraction": share},
            **METHODS[name].setting(*TUNED[name]),
        )
        for share in DELAY_SHARES
        for (head, optimizer), name in DELAY_METHODS.items()
    ]


REPEATED = {
    "division-fast": FAST.name,
    "classic": CLASSIC.name,
    "plain-head": "ablation-plain-head",
    "stablemax": "method-stablemax",
    "smallest": "smallest-train0.2",
    "no-decay": "phase-decay0-train0.3",
}
"""Experiments that are trained once more to test their key waves without a leak."""


def keys() -> list[Experiment]:
    """Return recipes of the study once more, changed only in when they are first scored."""
    everything = [FAST, CLASSIC, *compared(), *smallest(), *phases(), *ablations()]
    by_name = {experiment.name: experiment for experiment in everything}
    return [
        variant(f"keys-{short}", by_name[name], train={"eval_at": (1,)})
        for short, name in REPEATED.items()
    ]


INSIDE_AGAIN = variant(
    "keys-inside", INSIDE, train={"eval_at": steps_to(900, 40), "eval_every": 50}
)
"""Whose weights are kept more often and looked into without a leak."""


def seeded(experiment: Experiment, seeds: Sequence[int]) -> list[Experiment]:
    """Return experiment with each of seeds, for weights, sets and batches.

    A sentence has no sets to draw.
    """
    if isinstance(experiment.task, SentenceConfig):
        return [replace(experiment, seed=seed) for seed in seeds]
    return [
        replace(experiment, seed=seed, task=replace(experiment.task, seed=seed)) for seed in seeds
    ]


def table(experiment: Experiment) -> ModularConfig:
    """Return the table that experiment learns."""
    assert isinstance(experiment.task, ModularConfig), f"{experiment.name} learns no table"
    return experiment.task


def all_experiments(most: int = len(SEEDS)) -> list[Experiment]:
    """Return every experiment, with at most `most` seeds of each."""
    return [*first_experiments(most), *delay_experiments(most)]


def delay_experiments(most: int = len(SEEDS)) -> list[Experiment]:
    """Return the delay grid, and recipes trained again to test their key waves without a leak.

    Five seeds are planned, and figures and tables show those that have run.
    """
    fives = [run for experiment in [*delays(), *keys()] for run in seeded(experiment, SEEDS[:most])]
    return [*fives, *seeded(INSIDE_AGAIN, SEEDS[:3][:most])]


def first_experiments(most: int = len(SEEDS)) -> list[Experiment]:
    """Return all others: five seeds where recipes are compared, three for the rest."""
    fives = [FAST, CLASSIC, *compared()]
    threes = [SENTENCE, *clean(), REPORT, *smallest(), *phases(), *ablations()]
    return [
        *(run for experiment in fives for run in seeded(experiment, SEEDS[:5][:most])),
        *(run for experiment in threes for run in seeded(experiment, SEEDS[:3][:most])),
        *(run for experiment in drawn() for run in seeded(experiment, DRAWN_SEEDS[:most])),
        *seeded(INSIDE, SEEDS[:1]),
        *(run for experiment in tuning() for run in seeded(experiment, TUNING_SEEDS[:most])),
    ]

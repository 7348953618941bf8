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

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lmcore.compare import Table, named, told
from lmcore.corpus import Corpus, CorpusConfig
from lmcore.experiment import Experiment, seeded
from lmcore.headlines import beside, gained, loss, mean_loss, next_token, unigram_nats
from lmcore.model import GPT, ModelConfig, gated_width
from lmcore.records import Run
from lmcore.train import TrainConfig

SEEDS = (701, 702, 703)
"""Chosen before any of them was run."""
TUNING_SEED = 71
"""Learning rates are chosen on this seed, and it appears in no other result."""
GIVEN = Experiment(
    study="record",
    name="sgd-as-given",
    seed=SEEDS[0],
    corpus=CorpusConfig(vocab_size=4_000, tokenizer_text="train"),
    model=ModelConfig(
        vocab_size=4_000, d_model=128, n_layers=4, n_heads=4, d_ff=512, dropout=0.0
    ),
    train=TrainConfig(batch_size=32, epochs=1, evaluate_at=(), record_every=10),
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
    """One change: the rung it is made on, and the fields of corpus, model and training it sets."""

    base: str
    corpus: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)


def vocabulary(base: str, vocab_size: int) -> Rung:
    """Return the rung of another vocabulary size, which corpus and model share."""
    return Rung(base=base, corpus={"vocab_size": vocab_size}, model={"vocab_size": vocab_size})


def batch(base: str, batch_size: int) -> Rung:
    """Return the rung of another batch size; the warmup keeps its share of the steps."""
    warmup = WARMUP * GIVEN.train.batch_size // batch_size
    return Rung(base=base, train={"batch_size": batch_size, "warmup": warmup})


LADDER = {
    "adamw": Rung(
        base="sgd-as-given",
        train={"optimizer": "adamw", "lr": TUNED["adamw"], "weight_decay": 0.1, "warmup": 18},
    ),
    "rope-rmsnorm": Rung(base="adamw", model={"positions": "rope", "norm": "rms"}),
    "wsd": Rung(
        base="rope-rmsnorm", train={"schedule": "wsd", "decay_fraction": 0.4, "warmup": WARMUP}
    ),
    "muon": Rung(base="wsd", train={"optimizer": "muon", "momentum": 0.95, "lr": TUNED["muon"]}),
    "zero-residual": Rung(base="muon", model={"initialisation": "zero_residual"}),
    "scaled-residual": Rung(base="muon", model={"initialisation": "gpt2"}),
    "no-biases": Rung(base="muon", model={"bias": False}),
    "batch-16": batch("muon", 16),
    "batch-64": batch("muon", 64),
    "swiglu": Rung(base="muon", model={"activation": "swiglu", "d_ff": gated_width(128)}),
    "deeper": Rung(base="muon", model={"n_layers": 8, "d_model": 96, "n_heads": 3, "d_ff": 384}),
    "vocabulary-8k": vocabulary("muon", 8_000),
    "vocabulary-16k": vocabulary("muon", 16_000),
    "unigram": Rung(base="muon", corpus={"tokenizer": "unigram"}),
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
        corpus=replace(base.corpus, **step.corpus),
        model=replace(base.model, **step.model),
        train=replace(base.train, **step.train | train),
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


def experiments() -> list[Experiment]:
    """Return the tuning, and every rung from the baseline up."""
    rungs = [GIVEN, *(rung(name) for name in LADDER)]
    return [*tuning(), *seeded(rungs, SEEDS)]


def probe(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return what the figures show of a trained model and its text, small enough to keep."""
    counts = np.bincount(corpus.train.ids, minlength=corpus.tokenizer.vocab_size)
    return {
        "next_token": next_token(model, corpus),
        "frequency": {"unigram_nats": unigram_nats(counts, corpus.validation.ids)},
    }


# What is read off runs


def best_rate(runs: Sequence[Run], name: str) -> float:
    """Return the learning rate at which a rung ended lowest on the tuning seed."""
    return min(RATES[name], key=lambda lr: mean_loss(named(runs, tuning_name(name, lr))))


def climbed(name: str) -> list[str]:
    """Return the rungs from the baseline up to the one called name."""
    return [GIVEN.name] if name == GIVEN.name else [*climbed(LADDER[name].base), name]


def verdict(name: str, n_seeds: int) -> str:
    """Return whether a rung was kept, or dropped, or has too few seeds to be dropped."""
    if name in climbed(RECORD):
        return "kept"
    return "dropped" if n_seeds == len(SEEDS) else "open"


# Tables


def findings(runs: Sequence[Run]) -> Table:
    """Return the scores of the rungs that were kept, and which runs say so."""
    return gained("record, on the proxy", {name: name for name in climbed(RECORD)}, runs)


def rung_table(runs: Sequence[Run]) -> Table:
    """Return what each rung reached, its ratio to the baseline, and its change seed by seed."""
    first = named(runs, GIVEN.name)
    rows = [
        (GIVEN.name, "", told([loss(run) for run in first], 4), "1.0000", "", str(len(first)), "")
    ]
    for name, step in LADDER.items():
        own = named(runs, name)
        if own:
            ratios = [ours / theirs for ours, theirs in beside(own, first)]
            changes = [ours - theirs for ours, theirs in beside(own, named(runs, step.base))]
            losses = told([loss(run) for run in own], 4)
            effect = (told(ratios, 4), told(changes, 4), str(len(own)), verdict(name, len(own)))
            rows.append((name, step.base, losses, *effect))
    header = ("rung", "made on", "validation, nats/character", "ratio", "change", "seeds", "")
    return Table(header, tuple(rows))

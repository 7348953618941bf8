"""When does a small transformer stop memorising a table of arithmetic and solve it?

Hypothesis: what a report on grokking could not make happen in 60,000 epochs takes a few hundred
steps once the logits' scale is fixed; how late generalisation comes follows the share of the table
seen in training and the weight decay, not the modulus.

Scientific hyperparameters: operation, modulus, share of the table, weight decay, head, depth.
Nuisance hyperparameters: the seed, which draws weights, sets and batches; learning rate.
Fixed hyperparameters: 128 features without norms, answer-only loss, AdamW's betas.
"""

import base64
import copy
import math
import shlex
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from lmcore import circuits, keywaves, plotting
from lmcore.checkpoint import load_weights, save_weights
from lmcore.compare import Table, named, spread, told
from lmcore.experiment import Experiment, slug, source_of, with_bar, workspace
from lmcore.model import GPT, ModelConfig
from lmcore.modular import LENGTH, OPERATIONS, ModularConfig, parsed
from lmcore.modular import Table as Data
from lmcore.records import Run
from lmcore.runtime import Runtime
from lmcore.sample import next_probabilities
from lmcore.sentence import Sentence, SentenceConfig
from lmcore.train import HELD, Record, TrainConfig, train

SEEDS = (101, 102, 103, 104, 105)
"""Chosen before any of them was run."""
DRAWN_SEEDS = (111, 112, 113)
"""Those of the report's sampling: its recipe was changed once others had been seen."""
TUNING_SEEDS = (11, 12)
"""What was tuned was tuned on these; recipes of the study also on 13."""
TRAIN, VALIDATION, REFERENCE = plotting.REFERENCE, plotting.OURS, plotting.REFERENCE
SOLVED = 0.99
"""The validation accuracy that counts as solved, once it holds for HELD evaluations in a row."""
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
    corpus=ModularConfig(operations=("/",), p=97, seed=SEEDS[0]),
    model=ModelConfig(
        vocab_size=98, context_length=LENGTH, d_model=128, n_layers=1, n_heads=4, d_ff=512,
        activation="relu", norm="none", bias=False, tied=False, dropout=0.0,
        initialisation="gpt2", initial_scale=4.0, head_scale=10.0,
    ),
    train=TrainConfig(
        batch_size=512, order="shuffled", epochs=None, steps=400, optimizer="adamw", lr=7e-3,
        schedule="wsd", decay_fraction=0.35, warmup=10, betas=(0.9, 0.98), weight_decay=0.7,
        decay_embeddings=True, clip=None, evaluate_at=(1, 3, 10), evaluate_every=20,
        record_every=100_000,
        precision="float32",
    ),
)  # fmt: skip
SENTENCE = Experiment(
    study="grokking",
    name="sentence",
    seed=SEEDS[0],
    corpus=SentenceConfig(sentence="I love machine learning"),
    model=ModelConfig(
        vocab_size=14, context_length=16, d_model=32, n_layers=1, n_heads=2, d_ff=128, dropout=0.0
    ),
    train=TrainConfig(
        batch_size=1, order="uniform", epochs=None, steps=1_000, optimizer="adamw", lr=3e-3,
        schedule="constant", evaluate_at=steps_to(900, 18), record_every=100_000,
        precision="float32",
    ),
)  # fmt: skip


def variant(
    name: str,
    base: Experiment = FAST,
    *,
    corpus: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
) -> Experiment:
    """Return base under another name, with other fields of its three parts."""
    table = replace(base.corpus, **corpus or {})
    shape = {"vocab_size": table.vocab_size} | (model or {})
    return replace(
        base,
        name=name,
        corpus=table,
        model=replace(base.model, **shape),
        train=replace(base.train, **train or {}),
    )


CONSTANT = {"schedule": "constant", "decay_fraction": 0.2}
STEADY = variant(
    "steady",
    train={"lr": 3e-3, "weight_decay": 1.0, "steps": 1_000, "until_accuracy": SOLVED} | CONSTANT,
)
"""The fast recipe at a rate that can stay; a run ends once it has solved its table."""
CLASSIC = variant(
    "classic",
    corpus={"train_fraction": 0.4},
    model={"head_scale": None},
    train=CONSTANT
    | {"lr": 3e-3, "steps": 3_000, "evaluate_at": steps_to(2_500, 48), "evaluate_every": 100},
)
SCARCE = variant(
    "scarce",
    model={"head_scale": 12.0},
    train={"lr": 5e-3, "weight_decay": 1.25, "decay_fraction": 0.4, "steps": 8_000}
    | {"evaluate_at": (), "evaluate_every": 100, "until_accuracy": 0.995},
)
"""For little data: larger logits, more decay, and a rate that falls, since at a constant one what
was generalised is lost again and again.
"""
REPORT = variant(
    "report-500",
    SCARCE,
    corpus={"train_fraction": 500 / 9_312},
    train={"steps": 5_000, "evaluate_at": steps_to(4_500, 24), "evaluate_every": None},
)
INSIDE = variant("inside", CLASSIC, train={"keep_weights": True})
SHOWN = ("division-fast", "classic", "report-500", "drawn-add-97", "drawn-mixed-113")
"""Experiments whose settings the notebook lays side by side."""


def drawn() -> list[Experiment]:
    """Return the report's sampling: 5,000 rows for each operation and both, for each modulus.

    For both operations at once, also as many as give one modulus the other's coverage.
    """
    out = []
    for p in MODULI:
        for name, operations in SUMS.items():
            table = {"operations": operations, "p": p, "train_fraction": None, "n_samples": N_DRAWN}
            if name == "mixed":  # half as many pairs of each operation ask for more of both
                more = {"model": {"head_scale": 16.0}, "train": {"weight_decay": 1.5}}
            else:
                more = {}
            out.append(variant(f"drawn-{name}-{p}", SCARCE, corpus=table, **more))
    for this, other in (MODULI, MODULI[::-1]):
        source = next(e for e in out if e.name == f"drawn-mixed-{this}")
        n = round(N_DRAWN * this * (this + 1) / (other * (other + 1)))
        out.append(variant(f"drawn-mixed-{this}-as-{other}", source, corpus={"n_samples": n}))
    return out


def clean() -> list[Experiment]:
    """Return the same operations and moduli with sets that share nothing."""
    return [
        variant(
            f"clean-{name}-{p}",
            STEADY,
            corpus={"operations": operations, "p": p, "train_fraction": 0.3},
            train={"steps": 1_500},
        )
        for p in MODULI
        for name, operations in SUMS.items()
    ]


def phases() -> list[Experiment]:
    """Return every decay with every share of the table."""
    return [
        variant(
            f"phase-decay{decay:g}-train{fraction:g}",
            STEADY,
            corpus={"train_fraction": fraction},
            train={"weight_decay": decay, "evaluate_every": 50, "evaluate_at": ()},
        )
        for decay in DECAYS
        for fraction in FRACTIONS
    ]


ABLATIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "no warmup": {"train": {"warmup": 0}},
    "warmup 100": {"train": {"warmup": 100}},
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
"""What is changed one at a time in the steady recipe, by the name it is shown under."""


def ablations() -> list[Experiment]:
    """Return the steady recipe and its single changes."""
    return [
        variant(f"ablation-{slug(name)}", STEADY, **changes) for name, changes in ABLATIONS.items()
    ]


@dataclass(frozen=True, kw_only=True)
class Method:
    """Something said to hasten grokking: what it changes in training from the plain head with
    AdamW, and beside the learning rate the one number of its own that is tuned.
    """

    own: str
    values: tuple[float, float]
    changes: dict[str, Any] = field(default_factory=dict)

    def setting(self, lr: float, value: float) -> dict[str, dict[str, Any]]:
        """Return what a learning rate and a value of its own number change."""
        plan = {"lr": lr} | self.changes
        if self.own == "head_scale":
            return {"train": plan, "model": {"head_scale": value}}
        return {"train": plan | {self.own: value}}


MUON = {"optimizer": "muon", "momentum": 0.95}
METHODS = {
    "AdamW": Method(own="weight_decay", values=(0.5, 1.0)),
    "Muon": Method(own="weight_decay", values=(0.5, 1.0), changes=MUON),
    "Grokfast": Method(own="grokfast", values=(0.5, 2.0)),
    "StableMax": Method(own="weight_decay", values=(0.0, 0.5), changes={"loss": "stablemax"}),
    "orthogonal gradients": Method(
        own="weight_decay", values=(0.0, 0.5), changes={"orthogonal": True}
    ),
    "cosine head": Method(own="head_scale", values=(8.0, 12.0)),
    "cosine head, Muon": Method(own="head_scale", values=(8.0, 12.0), changes=MUON),
}
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
PLAIN = variant("plain", STEADY, model={"head_scale": None})


LONG = variant("long", PLAIN, train={"steps": 2_000})
"""Twice the steps of the tuning, so that a method which came close can get there."""


def tuning() -> list[Experiment]:
    """Return each method at each learning rate with each value of its own number."""
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
"""The learning rate and own number that `best_setting` finds in the runs of `tuning`."""


def compared() -> list[Experiment]:
    """Return each method as it was tuned."""
    return [
        variant(f"method-{slug(name)}", LONG, **METHODS[name].setting(*setting))
        for name, setting in TUNED.items()
    ]


def smallest() -> list[Experiment]:
    """Return ever smaller shares of the table with the time that small ones need."""
    return [
        variant(
            f"smallest-train{fraction:g}",
            SCARCE,
            corpus={"train_fraction": fraction},
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
DELAY = variant("delay", PLAIN, train={"steps": 5_000, "evaluate_at": (), "evaluate_every": 20})


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
            corpus={"train_fraction": share},
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
    by_name = {each.name: each for each in everything}
    return [
        variant(f"keys-{short}", by_name[name], train={"evaluate_at": (1,)})
        for short, name in REPEATED.items()
    ]


INSIDE_AGAIN = variant(
    "keys-inside", INSIDE, train={"evaluate_at": steps_to(900, 40), "evaluate_every": 50}
)
"""Whose weights are kept more often and looked into without a leak."""


def seeded(experiment: Experiment, seeds: Sequence[int]) -> list[Experiment]:
    """Return experiment with each of seeds, which draw its weights, sets and batches.

    A sentence has nothing to draw.
    """
    if isinstance(experiment.corpus, SentenceConfig):
        return [replace(experiment, seed=seed) for seed in seeds]
    return [
        replace(experiment, seed=seed, corpus=replace(experiment.corpus, seed=seed))
        for seed in seeds
    ]


def experiments(most: int = len(SEEDS)) -> list[Experiment]:
    """Return every run of the study: five seeds where recipes are compared, three for the rest.

    No more than most seeds of each.
    """
    fives = [FAST, CLASSIC, *compared(), *delays(), *keys()]
    threes = [SENTENCE, *clean(), REPORT, *smallest(), *phases(), *ablations()]
    return [
        *(run for each in fives for run in seeded(each, SEEDS[:5][:most])),
        *(run for each in threes for run in seeded(each, SEEDS[:3][:most])),
        *(run for each in drawn() for run in seeded(each, DRAWN_SEEDS[:most])),
        *seeded(INSIDE, SEEDS[:1]),
        *seeded(INSIDE_AGAIN, SEEDS[:3][:most]),
        *(run for each in tuning() for run in seeded(each, TUNING_SEEDS[:most])),
    ]


# What is kept of a trained model


def probe(model: GPT, data: Data | Sentence) -> dict[str, Any]:
    """Return what the tables show of a trained model, small enough to keep."""
    if isinstance(data, Sentence):
        return {"written": written(model, data)}
    config = data.config
    is_one = len(config.operations) == 1 and config.operations[0] in circuits.SIGNS
    if not is_one or config.n_samples is not None or model.config.n_layers > 1:
        return {}
    model.cpu()  # where the tables are
    return {
        "claim": circuits.claim(model, data),
        "without leak": keywaves.probe(model, data),
        "attention": circuits.attention(model, data),
    }


def written(model: GPT, data: Sentence) -> str:
    """Return what the model writes after the sentence's first character, the likeliest each time.

    A window of the context slides along, as in the windows it learned from.
    """
    ids = data.config.ids(data.config.sentence[0])
    while len(ids) < len(data.config.sentence):
        ids.append(int(next_probabilities(model, ids).argmax()))
    return "".join(data.config.characters[i] for i in ids)


def history(kept: Iterator[tuple[int, GPT]], model: GPT, data: Data) -> dict[str, Any]:
    """Return what is kept of a run whose weights were kept on its way, with the leak and without.

    All of them fit in memory.
    """
    weights = [(step, copy.deepcopy(then)) for step, then in kept]
    found = keywaves.history(iter(weights), model, data)
    return circuits.history(iter(weights), model, data) | {"without leak": found}


# A run to watch, and to ask


LIVE = "live"
NAMES = {"+": "plus", "-": "minus", "*": "times", "/": "over"}


def fast(operation: str = "/", p: int = 97, seed: int = 0, steps: int | None = None) -> Experiment:
    """Return the fast recipe for another operation, modulus, seed or number of steps."""
    table = {"operations": (operation,), "p": p, "seed": seed}
    plan = {} if steps is None else {"steps": steps, "warmup": min(FAST.train.warmup, steps // 5)}
    return replace(variant(LIVE, corpus=table, train=plan), seed=seed)


def parts(seed: int = 0) -> list[Experiment]:
    """Return the sentence, a sum as the report drew it, and the classic picture with a new seed."""
    names = (SENTENCE.name, "drawn-add-97", CLASSIC.name)
    chosen = [each for each in (SENTENCE, *drawn(), CLASSIC) if each.name in names]
    return [run for each in chosen for run in seeded(each, [seed])]


def weights_of(operation: str, p: int) -> Path:
    """Return where the weights of the last run watched stand.

    Raises:
        ValueError: there are none for such an operation.
    """
    if operation not in NAMES:
        raise ValueError(f"ask for one of {', '.join(NAMES)}: not for {operation!r}")
    return workspace() / f"runs/grokking/live/{NAMES[operation]}-{p}.safetensors"


def watch(experiment: Experiment) -> Iterator[Record]:
    """Train experiment now, with a bar, and yield each record; weights of `fast` stay for `ask`."""
    is_fast = experiment.name == LIVE
    path = weights_of(*experiment.corpus.operations, experiment.corpus.p) if is_fast else None
    torch.manual_seed(experiment.seed)
    model, source = GPT(experiment.model), source_of(experiment, experiment.corpus.prepare())
    runtime = Runtime().resolve(0, experiment.train.precision)
    records = train(model, experiment.train, source, runtime)
    yield from with_bar(records, experiment, source, runtime, True)
    if path:
        save_weights(path, model)


def ask(question: str) -> list[tuple[int, float]]:
    """Return every answer to a question such as 5 / 7 mod 97 with its probability, likeliest first.

    Raises:
        ValueError: it is no question, has no answer, or no model was trained for it yet.
    """
    a, operation, b, p = parsed(question)
    experiment = fast(operation, FAST.corpus.p if p is None else p)
    p, path = experiment.corpus.p, weights_of(operation, experiment.corpus.p)
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
    """Return the answer to a question as arithmetic gives it."""
    a, operation, b, p = parsed(question)
    p = FAST.corpus.p if p is None else p
    return int(OPERATIONS[operation](np.array([a]), np.array([b]), p)[0])


def plot_live(records: Sequence[Record]) -> Figure:
    """Return accuracy of training and validation so far, on a log step axis."""
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


# What is read off runs


def accuracy(record: dict[str, Any], name: str = "validation") -> float | None:
    """Return the share of right answers in the set called name, where it was scored."""
    score = record.get(name)
    return score and score["n_correct"] / score["n"]


def loss(record: dict[str, Any], name: str = "validation") -> float | None:
    """Return nats per answer in the set called name, where it was scored."""
    score = record.get(name)
    return score and score["nats"] / score["n"]


def solved_at(run: Run, level: float = SOLVED, name: str = "validation") -> int | None:
    """Return the step from which accuracy held at level for HELD evaluations, if it did."""
    scored = [record for record in run.metrics if name in record]
    good = [accuracy(record, name) >= level for record in scored]
    starts = range(len(good) - HELD + 1)
    first = next((start for start in starts if all(good[start : start + HELD])), None)
    return None if first is None else scored[first]["step"]


def first_at(run: Run, level: float, name: str) -> int | None:
    """Return the first scored step at which accuracy reached level."""
    steps, values = plotting.series(run, lambda record: accuracy(record, name))
    return next((int(s) for s, v in zip(steps, values, strict=True) if v >= level), None)


def percent(values: Sequence[float | None]) -> str:
    """Return mean and spread of the known shares in percent, and how many are not."""
    return told([None if value is None else 100 * value for value in values], 1, " %")


def of_outcome(run: Run, name: str) -> float | None:
    """Return the accuracy on a set scored once, after training; a run that diverged has none."""
    score = run.outcome.get(name)
    return score and score["n_correct"] / score["n"]


def coverage(runs: Sequence[Run]) -> float:
    """Return the mean share of the table that training saw."""
    return statistics.fmean(run.environment["corpus"]["coverage"] for run in runs)


def drawn_table(runs: Sequence[Run]) -> Table:
    """Return what came of the report's sampling, a row for each operation and modulus."""
    rows = []
    for name in dict.fromkeys(run.config.name for run in runs if "drawn" in run.config.name):
        own = named(runs, name)
        corpus = [run.environment["corpus"] for run in own]
        rows.append(
            (
                f"{' '.join(own[0].config.corpus.operations)} mod {own[0].config.corpus.p}",
                f"{own[0].config.corpus.n_samples:,}",
                percent([each["coverage"] for each in corpus]),
                percent([1 - each["unseen test_rows"] / each["test_rows"] for each in corpus]),
                percent([each["memoriser"] for each in corpus]),
                percent([of_outcome(run, "test") for run in own]),
                percent([of_outcome(run, "unseen test") for run in own]),
            )
        )
    header = (
        "sums", "samples", "of the table", "test shared", "memoriser", "model", "model, unseen",
    )  # fmt: skip
    return Table(header, tuple(rows))


def clean_table(runs: Sequence[Run]) -> Table:
    """Return what came of sets that share nothing."""
    rows = []
    for name in dict.fromkeys(run.config.name for run in runs if "clean" in run.config.name):
        own = named(runs, name)
        config = own[0].config.corpus
        rows.append(
            (
                " ".join(config.operations),
                str(config.p),
                f"{config.train_fraction:.0%}",
                told([solved_at(run) for run in own]),
                percent([of_outcome(run, "test") for run in own]),
            )
        )
    return Table(("operations", "p", "of the table", "solved at step", "test"), tuple(rows))


def speed_table(runs: Sequence[Run]) -> Table:
    """Return steps and seconds of the fast division, a row for each seed."""
    rows = []
    for run in runs:
        at = solved_at(run)
        rows.append(
            (
                str(run.config.seed),
                str(at or "not solved"),
                f"{seconds_to(run, at):.1f}" if at else "",
                f"{run.environment['training_s']:.1f}",
                f"{run.environment['cpu_s']:.1f}",
                percent([of_outcome(run, "test")]),
            )
        )
    header = ("seed", "solved at step", "seconds", "seconds in all", "CPU seconds", "test")
    return Table(header, tuple(rows))


def ablation_table(runs: Sequence[Run]) -> Table:
    """Return the steps to a solved table under each single change."""
    rows = []
    for shown in ABLATIONS:
        own = named(runs, f"ablation-{slug(shown)}")
        learned = told([first_at(run, 0.999, "train") for run in own])
        rows.append((shown, learned, told([solved_at(run) for run in own]), str(len(own))))
    header = ("changed", "memorised at step", "solved at step", "seeds")
    return Table(header, tuple(rows))


def seconds_to(run: Run, step: int | None) -> float | None:
    """Return the seconds of training until a scored step."""
    return next((r["elapsed_s"] for r in run.metrics if r["step"] == step), None)


def method_table(runs: Sequence[Run]) -> Table:
    """Return each tuned method's steps and seconds to a solved table, the fewest steps first."""
    rows = []
    owned = {name: named(runs, f"method-{slug(name)}") for name in TUNED}
    for name, own in sorted(owned.items(), key=lambda each: mean_steps(each[1])):
        lr, value = TUNED[name]
        steps = [solved_at(run) for run in own]
        a_step = [run.environment["training_s"] / run.metrics[-1]["step"] for run in own]
        rows.append(
            (
                name,
                f"lr {lr:g}, {METHODS[name].own.replace('_', ' ')} {value:g}",
                told(steps),
                told([seconds_to(run, step) for run, step in zip(own, steps, strict=True)], 1),
                spread([1_000 * each for each in a_step], 1),
            )
        )
    header = ("method", "tuned to", "solved at step", "seconds until then", "ms a step")
    return Table(header, tuple(rows))


def mean_steps(runs: Sequence[Run]) -> float:
    """Return the mean step at which runs solved their tables; infinite if one did not."""
    return statistics.fmean(solved_at(run) or math.inf for run in runs)


def right_at_end(runs: Sequence[Run]) -> float:
    """Return the mean share of validation pairs right after the last step; none if one diverged."""
    return statistics.fmean(accuracy(run.metrics[-1]) or 0 for run in runs)


def tuned(runs: Sequence[Run], name: str, lr: float, value: float) -> list[Run]:
    """Return the runs of a method with a learning rate and a value of its own number."""
    return named(runs, f"tune-{slug(name)}-lr{lr:g}-{value:g}")


def best_setting(runs: Sequence[Run], name: str) -> tuple[float, float]:
    """Return the learning rate and own number with which a method solved its table soonest.

    Where no setting did on every seed, it is the one that ended with the most right.
    """

    def rank(setting: tuple[float, float]) -> tuple[float, float]:
        own = tuned(runs, name, *setting)
        return mean_steps(own), -right_at_end(own)

    return min(((lr, value) for lr in RATES for value in METHODS[name].values), key=rank)


def claim_table(runs: Sequence[Run]) -> Table:
    """Return what the key frequencies do, a row for each run."""
    rows = []
    for run in runs:
        found = run.outcome["probe"]["claim"]
        rows.append(
            (
                run.config.name,
                str(run.config.seed),
                ", ".join(map(str, sorted(found["keys"]))),
                f"{found['waves']:.1%}",
                *(f"{found[name]:.1%}" for name in ("whole", "only keys", "without keys")),
                f"{found['only others']:.1%}",
            )
        )
    header = ("run", "seed", "key frequencies", "waves", "all", "only keys", "no keys", "others")
    return Table(header, tuple(rows))


def delay(run: Run) -> float | None:
    """Return how many times later than its training pairs a run solved unseen ones, if it did.

    Both count from the first of HELD evaluations in a row with 99 % right.
    """
    memorised, solved = solved_at(run, name="train"), solved_at(run)
    return solved / memorised if memorised and solved else None


def median_and_range(values: Sequence[int | float | None], digits: int = 0) -> str:
    """Return the median and the range of the known values, and how many are known if not all.

    The median counts values that are not known as greater than all others; – if it is one of them.
    """
    known = sorted(value for value in values if value is not None)
    if not known:
        return f"none of {len(values)}"
    middle = statistics.median_low([*known, *[math.inf] * (len(values) - len(known))])
    shown = f"{middle:,.{digits}f}" if math.isfinite(middle) else "–"
    said = f"{shown} ({known[0]:,.{digits}f}–{known[-1]:,.{digits}f})"
    return said if len(known) == len(values) else f"{said}, {len(known)} of {len(values)}"


def delay_table(runs: Sequence[Run]) -> Table:
    """Return when the delay grid's runs knew trained and unseen pairs, a row for each cell."""
    rows = []
    for head, optimizer in DELAY_METHODS:
        for share in DELAY_SHARES:
            own = named(runs, delay_name(head, optimizer, share))
            if not own:
                continue
            rows.append(
                (
                    head,
                    optimizer,
                    f"{share:.0%}",
                    median_and_range([solved_at(run, name="train") for run in own]),
                    median_and_range([solved_at(run) for run in own]),
                    median_and_range([delay(run) for run in own], 1),
                )
            )
    header = ("head", "optimizer", "of the table", "trained pairs", "unseen pairs", "delay")
    return Table(header, tuple(rows))


def key_table(runs: Sequence[Run]) -> Table:
    """Return what key waves have right of unseen pairs, with the leak and without, run by run."""
    names = ("whole", "only keys", "projected", "without keys", "both only keys")
    rows = []
    for run in runs:
        found = run.outcome.get("probe", {}).get("without leak")
        if found:
            with_leak = run.outcome["probe"]["claim"]["only keys"]
            shown = (with_leak, *(found[name] for name in (*names, "both without keys")))
            n_keys = "/".join(str(len(own)) for own in found["keys"])
            rows.append(
                (run.config.name, str(run.config.seed), n_keys, *(f"{x:.1%}" for x in shown))
            )
    header = (
        "run", "seed", "keys", "only keys, with the leak", "whole", "only keys", "projected",
        "no keys", "weights: only keys", "weights: no keys",
    )  # fmt: skip
    return Table(header, tuple(rows))


def findings(runs: Sequence[Run]) -> Table:
    """Return the study's goals and what was reached, of those runs that there are."""

    def steps(name: str) -> str:
        return told([solved_at(run) for run in named(runs, name)])

    def unseen(name: str) -> str:
        return percent([of_outcome(run, "unseen test") for run in named(runs, name)])

    def seconds(name: str) -> str:
        return told([seconds_to(run, solved_at(run)) for run in named(runs, name)], 1)

    minutes = sum(run.environment["training_s"] for run in named(runs, "classic")) / 60 / 2
    rows = [
        ("division mod 97, half the table: solved at step", "300", steps("division-fast")),
        ("training seconds until then, one thread", "10", seconds("division-fast")),
        ("division mod 97, plain head: solved at step", "every seed", steps("classic")),
        ("minutes for all its seeds, two at a time", "3", f"{minutes:.1f}"),
        *(
            (f"{name} mod {p}, 5,000 samples: unseen pairs", goal, unseen(f"drawn-{name}-{p}"))
            for name, goal in (("add", "99 %"), ("subtract", "99 %"), ("mixed", "95 %"))
            for p in MODULI
            if named(runs, f"drawn-{name}-{p}")
        ),
    ]
    return Table(("grokking", "goal", "reached"), tuple(rows))


def sentence_table(runs: Sequence[Run]) -> Table:
    """Return what each run writes after the first letter, and its last loss."""
    rows = tuple(
        (
            str(run.config.seed),
            f"{loss(run.metrics[-1]):.4f}",
            run.config.corpus.sentence[0],
            run.outcome["probe"]["written"],
        )
        for run in runs
    )
    return Table(("seed", "loss, nats per character", "given", "written"), rows)


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says of these runs."""
    for run in named(runs, "sentence"):
        assert run.outcome["probe"]["written"] == run.config.corpus.sentence
    check_sums(runs)
    check_division(runs)
    check_changes(runs)
    check_methods(runs)


def check_sums(runs: Sequence[Run]) -> None:
    """Assert what is said of the report's sampling and of sets that share nothing."""

    def unseen(name: str) -> list[float]:
        return [of_outcome(run, "unseen test") or 0 for run in named(runs, f"drawn-{name}")]

    for p in MODULI:
        assert min(unseen(f"add-{p}") + unseen(f"subtract-{p}")) > 0.99
    assert min(unseen("mixed-97")) > 0.95
    for name in SUMS:
        small, large = ([solved_at(r) for r in named(runs, f"clean-{name}-{p}")] for p in MODULI)
        assert statistics.fmean(large) < statistics.fmean(small)
    *few, most = sorted(unseen("mixed-113"))
    assert most > 0.99
    assert max(few) < 0.1
    assert max(unseen("mixed-97-as-113")) < 0.1
    lowest, *others = sorted(unseen("mixed-113-as-97"))
    assert 0.7 < lowest < 0.8
    assert min(others) > 0.95


def check_division(runs: Sequence[Run]) -> None:
    """Assert what is said of division."""
    for run in named(runs, "division-fast"):
        assert solved_at(run) <= 300
    for run in named(runs, "classic"):
        memorised = first_at(run, 0.999, "train")
        assert solved_at(run) > 2 * memorised
        assert of_outcome(run, "test") == 1
    for name, most in {"division-fast": 0.3, "classic": 0.04}.items():
        for run in named(runs, name):
            found = run.outcome["probe"]["claim"]
            assert found["only keys"] == 1
            assert max(found["without keys"], found["only others"]) < most
    slow, fast = (
        statistics.fmean(len(run.outcome["probe"]["claim"]["keys"]) for run in named(runs, name))
        for name in ("classic", "division-fast")
    )
    assert slow < fast
    for run in named(runs, "report-500"):
        assert first_at(run, 0.999, "train") < 50
        assert accuracy(run.metrics[-1], "train") == 1
        assert of_outcome(run, "test") < 0.02
    for run in named(runs, "smallest-train0.2"):
        assert solved_at(run) < 2_000
    for run in named(runs, "smallest-train0.15"):
        assert of_outcome(run, "test") < 0.35


def check_changes(runs: Sequence[Run]) -> None:
    """Assert what is said of decay, of the share of the table, and of single changes."""
    solved = {
        (decay, fraction): sum(
            solved_at(run) is not None
            for run in named(runs, f"phase-decay{decay:g}-train{fraction:g}")
        )
        for decay in DECAYS
        for fraction in FRACTIONS
    }
    assert [solved[0.0, fraction] for fraction in FRACTIONS] == [0, 0, 0, 0, 3]
    assert [solved[0.3, fraction] for fraction in FRACTIONS] == [0, 0, 0, 3, 3]
    assert [solved[1.0, fraction] for fraction in FRACTIONS] == [0, 0, 1, 3, 3]
    assert max(solved[2.0, fraction] for fraction in FRACTIONS) == 1
    changed = {
        name: [solved_at(run) for run in named(runs, f"ablation-{slug(name)}")]
        for name in ABLATIONS
    }
    same = ("nothing", "no warmup", "warmup 100", "two layers", "batch 1024")
    assert all(250 < statistics.fmean(changed[name]) < 350 for name in same)
    for name in ("lr 0.01", "plain head, no decay", "plain head, no decay, loss in float64"):
        assert not any(changed[name])
    scales = [statistics.fmean(changed[f"initial scale {scale}"]) for scale in (2, 8)]
    assert statistics.fmean(changed["nothing"]) < min(scales)


def check_methods(runs: Sequence[Run]) -> None:
    """Assert what is said of methods and of how they were tuned."""
    owned = {name: named(runs, f"method-{slug(name)}") for name in TUNED}
    steps = {name: [solved_at(run) for run in own] for name, own in owned.items()}
    known = {name: [step for step in each if step] for name, each in steps.items()}
    seconds = {
        name: statistics.fmean(seconds_to(run, solved_at(run)) for run in owned[name])
        for name in steps
        if known[name] == steps[name]
    }
    for name, setting in TUNED.items():
        assert best_setting(runs, name) == setting
        assert min(RATES) < setting[0] < max(RATES)
    mean = {name: statistics.fmean(each) for name, each in known.items() if each}
    assert min(mean, key=mean.get) == "Muon"
    assert min(seconds, key=seconds.get) == "cosine head"
    assert mean["AdamW"] < min(mean["Grokfast"], mean["StableMax"])
    assert mean["cosine head, Muon"] > max(mean["cosine head"], mean["Muon"])
    orthogonal = owned["orthogonal gradients"]
    assert not known["orthogonal gradients"]
    assert min(accuracy(run.metrics[-1]) for run in orthogonal) > 0.95
    assert max(right_at_end(tuned(runs, "StableMax", lr, 0.0)) for lr in RATES) < 0.5


# Figures


def draw_accuracy(ax: Any, runs: Sequence[Run], names: dict[str, str] | None = None) -> int:
    """Draw a thin line for each run and set, and return the last step."""
    last = 1
    for name, color in (names or {"train": TRAIN, "validation": VALIDATION}).items():
        for run in runs:
            steps, values = plotting.series(run, lambda record, name=name: accuracy(record, name))
            ax.plot(steps[1:], values[1:], color=color, lw=1.2, alpha=0.8)
            last = max(last, int(steps[-1]))
    ax.set_ylim(0, 1.04)
    ax.set_ylabel("share of right answers")
    return last


def plot_curves(runs: Sequence[Run]) -> Figure:
    """Return accuracy and loss of training and validation on a log step axis, a line each seed."""
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(plotting.WIDTH, 5.4), sharex=True)
    last = draw_accuracy(top, runs)
    for name, color in (("train", TRAIN), ("validation", VALIDATION)):
        for run in runs:
            steps, values = plotting.series(run, lambda record, name=name: loss(record, name))
            bottom.plot(steps[1:], values[1:], color=color, lw=1.2, alpha=0.8)
        y = {"train": 0.62, "validation": 0.5}[name]
        top.annotate(name, (0.02, y), xycoords="axes fraction", color=color, fontsize=9)
    bottom.set_yscale("log")
    bottom.set_ylabel("loss, nats per answer (log scale)")
    plotting.step_axis(bottom, last, log=True)
    return fig


def plot_fast(runs: Sequence[Run]) -> Figure:
    """Return accuracy of the fast division for each seed, and where each is solved."""
    fig, ax = plt.subplots()
    last = draw_accuracy(ax, runs)
    for run in runs:
        if at := solved_at(run):
            ax.plot(at, SOLVED, "v", color=VALIDATION, ms=6, zorder=3)
    plotting.level(ax, SOLVED, f"{SOLVED:.0%}", above=False, x=0.01)
    for name, color, y in (("train", TRAIN, 0.62), ("validation", VALIDATION, 0.5)):
        ax.annotate(name, (0.02, y), xycoords="axes fraction", color=color, fontsize=9)
    plotting.step_axis(ax, last)
    return fig


def plot_coverage(runs: Sequence[Run]) -> Figure:
    """Return accuracy on unseen pairs, a column for each modulus and number of samples.

    Columns of the same share of the table stand side by side, the smaller share first.
    """
    fig, ax = plt.subplots()
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.config.name, []).append(run)
    columns = sorted(
        ((coverage(own), own[0].config.corpus, own) for own in groups.values()), key=itemgetter(0)
    )
    for x, (_, config, own) in enumerate(columns):
        apart = np.linspace(x - 0.12, x + 0.12, len(own))
        right = [of_outcome(run, "unseen test") for run in own]
        color = plotting.PUBLISHED if config.p == max(MODULI) else plotting.OURS
        ax.plot(apart, right, "o", color=color, ms=7, alpha=0.8)
    said = [f"p = {c.p}\n{c.n_samples:,} samples\n{share:.1%}" for share, c, _ in columns]
    ax.set_xticks(range(len(said)), said)
    ax.set_xlim(-0.5, len(said) - 0.5)
    ax.set_ylim(-0.03, 1.04)
    ax.grid(visible=False, axis="x")
    ax.set_xlabel("share of the table in the training set")
    ax.set_ylabel("right answers, unseen test pairs")
    return fig


def plot_phases(runs: Sequence[Run]) -> Figure:
    """Return the median step at which the table was solved, by decay and share of the table."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 3.6))
    longest = STEADY.train.steps
    shown = np.full((len(DECAYS), len(FRACTIONS)), np.nan)
    for i, decay in enumerate(DECAYS):
        for j, fraction in enumerate(FRACTIONS):
            own = named(runs, f"phase-decay{decay:g}-train{fraction:g}")
            found = [solved_at(run) for run in own]
            steps = sorted(step or np.inf for step in found)
            known = sum(step is not None for step in found)
            median = statistics.median(steps)
            is_known = np.isfinite(median)
            shown[i, j] = median if is_known else np.nan
            said = f"{median:,.0f}" if is_known else f"{right_at_end(own):.1%} right"
            dark = is_known and median > 500
            ax.annotate(
                f"{said}\n{known}/{len(own)}", (j, i), ha="center", va="center", fontsize=9,
                color="white" if dark else "black",
            )  # fmt: skip
    ax.imshow(shown, cmap="viridis_r", aspect="auto", vmin=100, vmax=longest)
    ax.grid(visible=False)
    ax.set_xticks(range(len(FRACTIONS)), [f"{fraction:.0%}" for fraction in FRACTIONS])
    ax.set_yticks(range(len(DECAYS)), [f"{decay:g}" for decay in DECAYS])
    ax.set_xlabel("share of the table in the training set")
    ax.set_ylabel("weight decay")
    return fig


def plot_tuning(runs: Sequence[Run]) -> Figure:
    """Return for each method how much its settings had right in the end, against the learning rate.

    A full mark is a setting with which both seeds solved the table; beside it stands the mean step.
    """
    fig, axes = plt.subplots(2, 4, figsize=(plotting.WIDTH, 4.2), sharex=True, sharey=True)
    for ax, (name, method) in zip(axes.flat, METHODS.items(), strict=False):
        for value, color, dy in zip(
            method.values, (plotting.OURS, plotting.PUBLISHED), (4, -11), strict=True
        ):
            own = [tuned(runs, name, lr, value) for lr in RATES]
            right, steps = [right_at_end(each) for each in own], [mean_steps(each) for each in own]
            ax.plot(RATES, right, "o-", color=color, mfc="white", ms=4, lw=1.2)
            for lr, y, step in zip(RATES, right, steps, strict=True):
                if math.isfinite(step):
                    ax.plot(lr, y, "o", color=color, ms=4)
                    ax.annotate(f"{step:,.0f}", (lr, y), xytext=(0, dy), color=color, fontsize=7,
                                textcoords="offset points", ha="center")  # fmt: skip
            said = f"{method.own.replace('_', ' ')} {value:g}"
            y = 0.98 if color == plotting.OURS else 0.89
            ax.annotate(said, (0.97, y), xycoords="axes fraction", color=color, fontsize=7,
                        ha="right", va="top")  # fmt: skip
        ax.set_title(name, fontsize=8.5, pad=4)
        ax.set_xscale("log")
        ax.set_ylim(-0.04, 1.6)
        ax.set_yticks([0, 0.5, 1])
        ax.tick_params(labelsize=8)
        ax.minorticks_off()
    axes[1, 3].set_visible(False)
    fig.supxlabel("learning rate (log scale)", fontsize=10)
    fig.supylabel("share of right answers after the last step", fontsize=10)
    return fig


def plot_smallest(runs: Sequence[Run]) -> Figure:
    """Return accuracy on the test set against the share of the table, with the step it took."""
    fig, ax = plt.subplots()
    for fraction in sorted({run.config.corpus.train_fraction for run in runs}):
        own = [run for run in runs if run.config.corpus.train_fraction == fraction]
        right = [of_outcome(run, "test") for run in own]
        ax.plot([100 * fraction] * len(own), right, "o", color=VALIDATION, ms=6, alpha=0.7)
        known = [step for run in own if (step := solved_at(run))]
        said = f"{statistics.median(known):,.0f}" if len(known) == len(own) else "–"
        ax.annotate(said, (100 * fraction, 1.03), ha="center", color=REFERENCE, fontsize=8.5)
    plotting.level(ax, 1 / FAST.corpus.p, "a guess", x=0.99)
    ax.annotate("median step of solving:", (0.01, 1.03), xycoords=("axes fraction", "data"),
                color=REFERENCE, fontsize=8.5)  # fmt: skip
    ax.set_ylim(-0.02, 1.1)
    ax.set_xlim(0, None)
    ax.set_xlabel("share of the table in the training set, percent")
    ax.set_ylabel("right answers, test pairs")
    return fig


def plot_delay(runs: Sequence[Run]) -> Figure:
    """Return the delay against the share of the table, a panel each head, a line each optimizer.

    Lines join medians where most seeds solved the table; a cross on top is a seed that did not.
    """
    fig, axes = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.4), sharex=True, sharey=True)
    known = [x for run in runs if (x := delay(run))]
    top = 2 * max(known, default=1.0)
    shares = 100 * np.array(DELAY_SHARES)
    for ax, head in zip(axes, ("plain", "cosine"), strict=True):
        for optimizer, color, y in zip(
            ("AdamW", "Muon"), (plotting.PUBLISHED, plotting.OURS), (0.88, 0.78), strict=True
        ):
            own = [named(runs, delay_name(head, optimizer, share)) for share in DELAY_SHARES]
            ratios = [[delay(run) for run in cell] for cell in own]
            for x, cell in zip(shares, ratios, strict=True):
                aside = x + (0.6 if optimizer == "Muon" else -0.6)
                found = [ratio for ratio in cell if ratio]
                ax.plot([aside] * len(found), found, "o", color=color, ms=4, alpha=0.6)
                missing = len(cell) - len(found)
                ax.plot(aside + 0.5 * np.arange(missing), [top] * missing, "x", color=color, ms=5)
            middle = [
                statistics.median_low([r or math.inf for r in cell or [None]]) for cell in ratios
            ]
            ax.plot(shares, [m if math.isfinite(m) else math.nan for m in middle], color=color)
            ax.annotate(optimizer, (0.97, y), xycoords="axes fraction", color=color, ha="right")
        ax.set_title(f"{head} head")
        ax.set_yscale("log")
        ax.set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
        ax.minorticks_off()
        ax.set_xticks(shares, [f"{share:.0f} %" for share in shares])
        ax.set_xlabel("share of the table trained on")
    axes[0].set_ylabel("steps to unseen pairs / trained pairs (log)")
    return fig


def plot_sentence(runs: Sequence[Run]) -> Figure:
    """Return the loss of the sentence on log axes, and the least that it can be."""
    fig, ax = plt.subplots()
    config = runs[0].config
    floor = Sentence(config.corpus).floor(config.model.context_length)
    plotting.level(ax, floor, "no model can score less", above=False, x=0.01)
    steps, _ = plotting.curves(ax, runs, loss, label="loss", marker="o", ms=3)
    ax.set_yscale("log")
    ax.set_ylim(floor / 2, None)
    plotting.step_axis(ax, steps[-1], log=True)
    ax.set_ylabel("loss, nats per character (log scale)")
    return fig


def plot_inside(run: Run) -> Figure:
    """Return one run's accuracy, losses, weight norm, logit size and sparsity on one clock."""
    fig, axes = plt.subplots(4, 1, figsize=(plotting.WIDTH, 8.4), sharex=True)
    found, ours, other = run.outcome["history"], plotting.OURS, plotting.OTHER
    steps = np.maximum(found["step"], 0.9)
    last = draw_accuracy(axes[0], [run])
    axes[1].plot(steps, found["train"], color=TRAIN)
    axes[1].plot(steps, found["unseen"], color=VALIDATION)
    axes[1].plot(steps, found["restricted"], color=other)
    axes[1].plot(steps, found["excluded"], color=plotting.PUBLISHED)
    for name, color, y in (
        ("training pairs", TRAIN, 0.30), ("unseen pairs", VALIDATION, 0.21),
        ("restricted: key waves alone, all pairs", other, 0.12),
        ("excluded: key waves removed, training pairs", plotting.PUBLISHED, 0.03),
    ):  # fmt: skip
        axes[1].annotate(name, (0.02, y), xycoords="axes fraction", color=color, fontsize=8)
    axes[1].set_yscale("log")
    axes[1].set_ylim(1e-6, None)
    axes[1].set_ylabel("loss, nats (log)")
    at, norm = plotting.series(run, lambda record: record.get("weight_norm"))
    axes[2].plot(np.maximum(at, 0.9), norm, color=ours)
    axes[2].set_ylabel("norm of all weights")
    axes[2].set_ylim(0, None)
    size = axes[2].twinx()
    at, rms = plotting.series(run, lambda record: record.get("train", {}).get("logit_rms"))
    size.plot(np.maximum(at, 0.9), rms, color=other)
    size.set_ylabel("size of logits", color=other)
    size.set_ylim(0, None)
    size.grid(visible=False)
    axes[3].plot(steps, found["gini"], color=ours)
    axes[3].set_ylabel("Gini, embedding")
    axes[3].set_ylim(0, 1)
    plotting.step_axis(axes[3], last, log=True)
    return fig


def plot_spectrum(runs: Sequence[Run]) -> Figure:
    """Return the power of embedding and logits by frequency, and how pure neurons are."""
    fig, axes = plt.subplots(3, 1, figsize=(plotting.WIDTH, 6.6))
    found = runs[0].outcome["probe"]["claim"]
    waves = np.arange(1, len(found["share"]) + 1)
    for ax, name, said in ((axes[0], "embedding", "embedding"), (axes[1], "share", "logits")):
        is_key = np.isin(waves, found["keys"])
        colors = np.where(is_key, plotting.OURS, plotting.REFERENCE)
        ax.bar(waves, found[name], color=colors, width=0.8)
        ax.set_ylabel(f"share, {said}")
        ax.set_xlabel("frequency over logarithms" if ax is axes[1] else "")
    pure = np.mean([run.outcome["probe"]["claim"]["neurons"] for run in runs], axis=0)
    axes[2].bar(np.arange(10) / 10 + 0.05, pure, width=0.09, color=plotting.OURS)
    axes[2].set_xlabel("greatest share of a neuron's variance in one frequency")
    axes[2].set_ylabel("neurons")
    return fig


def plot_filling(run: Run, n: int = 5) -> Figure:
    """Return the table of right and wrong answers at n moments, in the order of logarithms."""
    found = run.outcome["history"]
    side = len(circuits.order_of(run.config.corpus))
    tables = [
        np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8))[: side * side]
        for bits in found["right"]
    ]
    shares = np.array([table.mean() for table in tables])
    aims = np.linspace(shares[0], shares[-1], n)
    places = sorted({int(np.abs(shares - aim).argmin()) for aim in aims})
    fig, axes = plt.subplots(1, len(places), figsize=(plotting.WIDTH, 1.9), sharey=True)
    for ax, place in zip(np.atleast_1d(axes), places, strict=True):
        ax.imshow(tables[place].reshape(side, side), cmap="Blues", vmin=0, vmax=1.3)
        ax.set_title(f"step {found['step'][place]:,}\n{shares[place]:.0%} right", fontsize=8.5)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(visible=False)
    np.atleast_1d(axes)[0].set_ylabel("log a")
    np.atleast_1d(axes)[len(places) // 2].set_xlabel("log b")
    return fig


def plot_attention(runs: Sequence[Run]) -> Figure:
    """Return how much each head attends to a, b and the operation, averaged over all pairs."""
    fig, axes = plt.subplots(1, len(runs), figsize=(plotting.WIDTH, 2.4), sharey=True)
    for ax, run in zip(np.atleast_1d(axes), runs, strict=True):
        found = run.outcome["probe"]["attention"]
        ax.imshow(np.array(found["mean"]), cmap="Blues", vmin=0, vmax=1.2, aspect="auto")
        for head, (mean, std) in enumerate(zip(found["mean"], found["std"], strict=True)):
            for place in range(LENGTH):
                said = f"{mean[place]:.2f}\n±{std[place]:.2f}"
                ax.annotate(said, (place, head), ha="center", va="center", fontsize=6.5)
        ax.set_xticks(range(LENGTH), ["a", "b", "op"])
        ax.set_title(f"seed {run.config.seed}", fontsize=9)
        ax.grid(visible=False)
    np.atleast_1d(axes)[0].set_ylabel("head")
    return fig

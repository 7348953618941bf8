"""What does swapping SGD for AdamW buy on headlines, and does it depend on how each is tuned?

Hypothesis: the challenge's SGD is mostly untuned, so that a learning rate alone closes part of the
gap; AdamW at its best stays well ahead of SGD at its best.

Scientific hyperparameters: optimizer; around AdamW its betas, decay, warmup, clipping, schedule.
Nuisance hyperparameters: the learning rate, tuned over as many runs for each; the seed of weights.
Fixed hyperparameters: titles, split, tokenizer, shape, batches, one epoch, no dropout.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lmcore.config import with_fields
from lmcore.experiments.experiment import Experiment, seeded, slug
from lmcore.experiments.run_folder import Run
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.report import plotting
from lmcore.report.tables import Table, coverage, named, rate, told
from lmcore.studies.baseline import CHALLENGE
from lmcore.studies.headlines import (
    LARGE_SEEDS,
    beside,
    draw_changes,
    draw_guesses,
    end_share,
    gained,
    last,
    loss,
    mean_loss,
    next_token,
    unigram_level,
    unigram_nats,
    whole,
)
from lmcore.tasks.titles import Corpus, TitlesConfig

SEEDS = (101, 102, 103)
"""Chosen before any of them was run."""
TUNING_SEEDS = (11, 12)
"""Learning rates were chosen on these, and nothing else is shown of them."""
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
"""Of 718 steps, for whatever is tuned."""


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
"""What is changed one at a time in AdamW as tuned, by the name it is shown under."""
LARGE_RATES = {"SGD": (0.5, 1.0, 2.0, 4.0), "AdamW": (5e-4, 1e-3, 2e-3, 4e-3)}
"""The learning rates that were looked at in the baseline's size."""
LARGE_TUNED = {"SGD": 1.0, "AdamW": 1e-3}
"""The best of them in the runs of `large_tuning`."""


def variant(name: str, **changes: Any) -> Experiment:
    """Return the recipe under another name, with other fields of its training."""
    return replace(GIVEN, name=name, train=with_fields(GIVEN.train, changes))


def of_sweep(name: str, optimizer: str, lr: float, **changes: Any) -> Experiment:
    """Return a run of an optimizer of which the end alone is looked at."""
    plan = {"eval_at": (), "log_every": 100_000, "warmup_steps": WARMUP, "lr": lr}
    return variant(name, **plan | OPTIMIZERS[optimizer].changes | changes)


def tuning() -> list[Experiment]:
    """Return each optimizer at each of its learning rates."""
    return [
        of_sweep(f"tune-{slug(name)}-lr{lr:g}", name, lr)
        for name, contender in OPTIMIZERS.items()
        for lr in contender.rates
    ]


def compared() -> list[Experiment]:
    """Return SGD as given and each optimizer as tuned, looked at all along."""
    tuned = [
        variant(f"tuned-{slug(name)}", warmup_steps=WARMUP, lr=lr, **OPTIMIZERS[name].changes)
        for name, lr in TUNED.items()
    ]
    return [GIVEN, *tuned]


def ablations() -> list[Experiment]:
    """Return the single changes of AdamW as tuned."""
    return [
        of_sweep(f"ablation-{slug(name)}", "AdamW", TUNED["AdamW"], **changes)
        for name, changes in ABLATIONS.items()
    ]


def sweeps(most: int = len(SEEDS)) -> list[Experiment]:
    """Return every run at the budget of a sweep, no more than most seeds of each."""
    return [
        *seeded(compared(), SEEDS[:most]),
        *seeded(tuning(), TUNING_SEEDS[:most]),
        *seeded(ablations(), SEEDS[:most]),
    ]


def of_large(name: str, optimizer: str, lr: float, **changes: Any) -> Experiment:
    """Return the baseline with an optimizer in the place of its SGD, and a warmup."""
    plan = {"warmup_steps": 49, "lr": lr} | OPTIMIZERS[optimizer].changes | changes
    model, train = ModelConfig(vocab_size=16_000, d_ff=2048), with_fields(CHALLENGE, plan)
    return replace(GIVEN, name=name, task=TitlesConfig(), model=model, train=train)


def large_tuning() -> list[Experiment]:
    """Return the optimizers that are tuned at the baseline's size, at each of their rates."""
    rare = {"eval_at": (), "log_every": 100_000}
    tried = [
        of_large(f"large-tune-{slug(name)}-lr{lr:g}", name, lr, **rare)
        for name, rates in LARGE_RATES.items()
        for lr in rates
    ]
    return seeded(tried, TUNING_SEEDS[:1])


def large() -> list[Experiment]:
    """Return the swap at the baseline's size, and how its learning rates were found.

    These runs are of another size than the sweeps', and stand in no table or figure with them.
    """
    tuned = [of_large(f"large-{slug(name)}-lr{lr:g}", name, lr) for name, lr in LARGE_TUNED.items()]
    return [*seeded(tuned, LARGE_SEEDS), *large_tuning()]


def experiments() -> list[Experiment]:
    """Return the sweeps, and what is still to be run at the baseline's size."""
    return [*sweeps(), *large()]


def probe(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return what the figures show of a trained model and its text, small enough to keep."""
    counts = np.bincount(corpus.train.ids, minlength=corpus.tokenizer.vocab_size)
    return {
        "next_token": next_token(model, corpus),
        "frequency": {"unigram_nats": unigram_nats(counts, corpus.validation.ids)},
    }


# What is read off runs


NAMES = {"SGD as given": GIVEN.name} | {name: f"tuned-{slug(name)}" for name in OPTIMIZERS}
"""The experiments that are compared, by the name they are shown under, step by step."""


def tuned_loss(runs: Sequence[Run], name: str, lr: float) -> float:
    """Return the mean loss of an optimizer at a learning rate, over the seeds of the tuning."""
    return mean_loss(named(runs, f"tune-{slug(name)}-lr{lr:g}"))


def best_rate(runs: Sequence[Run], name: str) -> float:
    """Return the learning rate at which an optimizer ended lowest."""
    return min(OPTIMIZERS[name].rates, key=lambda lr: tuned_loss(runs, name, lr))


def differences(runs: Sequence[Run], name: str) -> list[float]:
    """Return how much higher an ablation ends than AdamW as tuned, seed by seed."""
    own, adamw = (named(runs, each) for each in (f"ablation-{slug(name)}", NAMES["AdamW"]))
    return [changed - tuned for changed, tuned in beside(own, adamw)]


# Tables


def findings(runs: Sequence[Run]) -> Table:
    """Return what each step gained, and which runs say so."""
    return gained("AdamW swap", NAMES, runs)


def large_rates(runs: Sequence[Run]) -> Table:
    """Return the loss in the end at each learning rate that was tried at the baseline's size."""
    rows = [
        (name, f"{lr:g}", told([large_loss(runs, name, lr)], 3))
        for name, rates in LARGE_RATES.items()
        for lr in rates
    ]
    return Table(("optimizer", "lr", "validation"), tuple(rows))


def large_loss(runs: Sequence[Run], name: str, lr: float) -> float:
    """Return the loss of an optimizer tuned at the baseline's size, at a learning rate."""
    return mean_loss(named(runs, f"large-tune-{slug(name)}-lr{lr:g}"))


def optimizer_table(runs: Sequence[Run]) -> Table:
    """Return what each optimizer was run with, what it reached and what it took."""
    rows = []
    for shown, name in NAMES.items():
        own = named(runs, name)
        plan = own[0].config.train
        tried = OPTIMIZERS[shown].rates if shown in OPTIMIZERS else ()
        rows.append(
            (
                shown,
                f"{plan.optimizer.lr:g}",
                f"{tried[0]:g} to {tried[-1]:g}" if tried else "not tuned",
                told([loss(run) for run in own], 3),
                told([rate("test")(run.outcome) for run in own], 3),
                told([end_share(run.metrics[-1]) for run in own], 2),
                told([run.environment["cpu_s"] for run in own], 0),
                str(plan.optimizer.moments),
            )
        )
    header = (
        "optimizer", "lr", "tried", "validation", "test", "<eos> likeliest", "seconds",
        "kept per weight",
    )  # fmt: skip
    return Table(header, tuple(rows))


def ablation_table(runs: Sequence[Run]) -> Table:
    """Return AdamW as tuned, then each single change and how much higher it ends."""
    tuned = told([loss(run) for run in named(runs, NAMES["AdamW"])], 4)
    rows = [("nothing", tuned, "")]
    for shown in ABLATIONS:
        own = named(runs, f"ablation-{slug(shown)}")
        rows.append((shown, told([loss(run) for run in own], 4), told(differences(runs, shown), 4)))
    header = ("changed", "validation, nats/character", "higher by, seed by seed")
    return Table(header, tuple(rows))


# Figures


COLORS = {
    "SGD as given": plotting.REFERENCE,
    "SGD": "#e69f00",
    "SGD with momentum": "#cc79a7",
    "AdamW": plotting.OURS,
    "Muon and AdamW": plotting.OTHER,
}
"""One for each optimizer, from the same palette."""
FIRST_SHOWN = 4
"""Where step axes begin; the first steps of warmup go nowhere."""


def plot_loss(runs: Sequence[Run]) -> Figure:
    """Return validation loss against steps for SGD as given and each optimizer as tuned."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    for shown, name in NAMES.items():
        own, color = whole(named(runs, name)), COLORS[shown]
        if own:
            steps, mean = plotting.curves(
                ax, own, rate("validation"), label=shown, color=color, marker="o", ms=3
            )
            place = float(steps[-1]), float(mean[-1])
            plotting.name_line(ax, place, shown, color, (6.0, -3.0))
    plotting.level(ax, unigram_level(whole(runs)[0]), "counting tokens, ignoring context")
    steps = whole(runs)[0].metrics[-1]["step"]
    plotting.step_axis(ax, steps, log=True)
    ax.set_xlim(FIRST_SHOWN, 6.5 * steps)  # room for the names
    ax.set_ylabel("validation loss, nats per character")
    return fig


def plot_rates(runs: Sequence[Run]) -> Figure:
    """Return the loss in the end against the learning rate, for each optimizer.

    A dot is a seed, a line the mean, a ring the rate that was taken. Where a seed diverged the line
    is broken, and a hollow dot stands at the top.
    """
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    for shown, contender in OPTIMIZERS.items():
        color = COLORS[shown]
        means = np.array([tuned_loss(runs, shown, lr) for lr in contender.rates])
        known = np.where(np.isfinite(means), means, np.nan)
        ax.plot(contender.rates, known, color=color, lw=1.4)
        for lr in contender.rates:
            own = named(runs, f"tune-{slug(shown)}-lr{lr:g}")
            ax.plot(
                [lr] * len(whole(own)), [loss(run) for run in whole(own)], "o", color=color, ms=4
            )
            if len(whole(own)) < len(own):
                at = ax.get_xaxis_transform()
                ax.plot([lr], [1], "o", mfc="white", mec=color, transform=at, clip_on=False)
        best = TUNED[shown]
        place = (best, tuned_loss(runs, shown, best))
        ax.plot(*place, "o", ms=11, mfc="none", mec=color)
        plotting.name_line(ax, place, shown, color, (0.0, -18.0), ha="center")
    plotting.level(ax, unigram_level(whole(runs)[0]), "counting tokens, ignoring context")
    low, high = ax.get_ylim()
    ax.set_ylim(low - 0.06 * (high - low), high)  # room for the lowest name
    ax.set_xscale("log")
    ax.set_xlabel("peak learning rate (log scale)")
    ax.set_ylabel("validation loss in the end, nats per character")
    return fig


def gone(role: str) -> plotting.Quantity:
    """Return what reads off a record how far the parameters of a role went, if they moved."""
    return lambda record: record.get("update_ratios", {}).get(role) or None


def plot_inside(runs: Sequence[Run]) -> Figure:
    """Return the gradient's norm and how far a step goes, against steps, for each optimizer.

    The last step is left out: the schedule lets it go nowhere.
    """
    fig, axes = plt.subplots(3, 1, figsize=(plotting.WIDTH, 7.6), sharex=True)
    quantities = {
        "gradient norm": lambda record: record.get("grad_norm"),
        "update / weights,\nmatrices": gone("hidden"),
        "update / weights,\nembedding": gone("embedding"),
    }
    for ax, (said, quantity) in zip(axes, quantities.items(), strict=True):
        for place, (shown, name) in enumerate(NAMES.items()):
            own = [replace(run, metrics=run.metrics[:-1]) for run in whole(named(runs, name))]
            color = COLORS[shown]
            if not own:
                continue
            dots = {} if ax is axes[0] else {"marker": "o", "ms": 3}
            plotting.curves(ax, own, quantity, label=shown, color=color, lw=1.2, **dots)
            if ax is axes[1]:
                at = (0.02 + 0.33 * (place // 2), 0.5 - 0.1 * (place % 2))
                ax.annotate(shown, at, xycoords="axes fraction", color=color, fontsize=8.5)
        ax.set_yscale("log")
        ax.set_ylabel(f"{said} (log)")
    plotting.level(axes[0], GIVEN.train.optimizer.max_grad_norm, "clipped to this norm")
    steps = whole(runs)[0].metrics[-1]["step"]
    plotting.step_axis(axes[-1], steps, log=True)
    axes[-1].set_xlim(FIRST_SHOWN, steps)
    return fig


def plot_next_token(runs: Sequence[Run]) -> Figure:
    """Return the six likeliest tokens at batch 0, time 10 for each optimizer, a panel each."""
    groups = {shown: whole(named(runs, name)) for shown, name in NAMES.items()}
    return draw_guesses(groups, "next_token", COLORS)


def plot_ablations(runs: Sequence[Run]) -> Figure:
    """Return how much higher each single change ends than AdamW as tuned, a dot each seed."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    draw_changes(ax, {shown: differences(runs, shown) for shown in ABLATIONS})
    ax.set_xlabel("higher than AdamW as tuned, nats per character")
    return fig


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says of these runs."""
    check_tuning(runs)
    check_inside(runs)
    check_ablations(runs)
    check_large(runs)
    runs = [run for run in runs if run.config.model == GIVEN.model]
    own = {shown: named(runs, name) for shown, name in NAMES.items()}
    assert {run.metrics[-1]["step"] for run in runs} == {718}
    assert round(100 * WARMUP / 718) == 5
    assert GIVEN.model.n_parameters == 925_184
    assert all(last(run, "challenge", coverage) > 0.997 for run in runs)
    for each in own["SGD as given"]:
        assert loss(each) > unigram_level(each)
        assert end_share(each.metrics[-1]) > 0.999
    for shown in OPTIMIZERS:
        assert all(loss(each) < 0.9 * unigram_level(each) for each in own[shown])
    given, sgd, momentum, adamw, muon = ([loss(each) for each in own[shown]] for shown in NAMES)
    by_rate = [(a - b) / (a - d) for a, b, d in zip(given, sgd, adamw, strict=True)]
    by_both = [(a - c) / (a - d) for a, c, d in zip(given, momentum, adamw, strict=True)]
    assert 0.6 < min(by_rate) < max(by_rate) < 0.7
    assert 0.75 < min(by_both) < max(by_both) < 0.85
    assert max(d / c for c, d in zip(momentum, adamw, strict=True)) < 0.92
    assert max(e / d for d, e in zip(adamw, muon, strict=True)) < 0.95
    assert max(d / a for a, d in zip(given, adamw, strict=True)) < 1.324 / 1.753  # as published


def check_large(runs: Sequence[Run]) -> None:
    """Assert what the text says of the baseline's size."""
    start = [run for run in runs if (run.config.study, run.config.name) == ("baseline", "sgd")]
    sgd, adamw = (named(runs, f"large-{slug(n)}-lr{lr:g}") for n, lr in LARGE_TUNED.items())
    assert [len(own) for own in (start, sgd, adamw)] == 3 * [len(LARGE_SEEDS)]
    for name, rates in LARGE_RATES.items():
        best = min(rates, key=lambda lr, name=name: large_loss(runs, name, lr))
        assert rates[0] < best == LARGE_TUNED[name] < rates[-1]
    assert LARGE_TUNED["AdamW"] == TUNED["AdamW"] / 4
    assert LARGE_TUNED["SGD"] == TUNED["SGD"]
    assert all(loss(run) > unigram_level(run) for run in start)
    assert all(loss(run) < unigram_level(run) for run in sgd)
    assert all(loss(run) < 0.75 * unigram_level(run) for run in adamw)
    assert all(0.68 < after / before < 0.7 for after, before in beside(adamw, start))
    assert all(0.8 < after / before < 0.82 for after, before in beside(sgd, start))
    assert all(0.84 < after / before < 0.86 for after, before in beside(adamw, sgd))
    pairs = zip(beside(sgd, start), beside(adamw, start), strict=True)
    shares = [(given - tuned) / (given - swapped) for (tuned, given), (swapped, _) in pairs]
    assert 0.58 < min(shares) < statistics.fmean(shares) < 0.62
    assert 0.74 < 1.401 / 1.856 < 0.76  # as published, corrected to every token


def check_tuning(runs: Sequence[Run]) -> None:
    """Assert what the text says of the learning rates."""
    found = {
        name: [tuned_loss(runs, name, lr) for lr in contender.rates]
        for name, contender in OPTIMIZERS.items()
    }
    for name, lr in TUNED.items():
        assert best_rate(runs, name) == lr
        assert lr not in (OPTIMIZERS[name].rates[0], OPTIMIZERS[name].rates[-1])
    assert TUNED["SGD"] > 100 * GIVEN.train.optimizer.lr
    assert tuned_loss(runs, "SGD", 2.0) - tuned_loss(runs, "SGD with momentum", 0.2) > 0.15
    adamw, muon = (
        dict(zip(OPTIMIZERS[n].rates, found[n], strict=True)) for n in ("AdamW", "Muon and AdamW")
    )
    assert adamw[8e-3] > 1.05 * adamw[4e-3]
    assert max(muon[lr] for lr in (5e-3, 1e-2, 2e-2, 4e-2)) < 1.015 * muon[1e-2]
    assert max(found["Muon and AdamW"]) < min(found["AdamW"])
    assert adamw[1.6e-2] > min(found["SGD with momentum"])


def check_inside(runs: Sequence[Run]) -> None:
    """Assert what the text says of gradients, updates and guesses."""
    shares = [
        statistics.fmean(end_share(run.metrics[-1]) for run in named(runs, name))
        for name in NAMES.values()
    ]
    assert shares == sorted(shares, reverse=True)
    for shown, name in NAMES.items():
        for run in named(runs, name):
            early = [record for record in run.metrics if 0 < record["step"] <= 300]
            went = [share for record in early if (share := gone("hidden")(record))]
            steepest = max(record["grad_norm"] for record in early)
            tokens = [entry["token"] for entry in run.outcome["probe"]["next_token"]["top"]]
            is_adaptive = shown in ("AdamW", "Muon and AdamW")
            assert tokens[0] == "<eos>"
            assert run.outcome["probe"]["next_token"]["target_probability"] < 0.01
            assert (tokens[2] == " released") == (" released" in tokens) == is_adaptive
            assert (end_share(run.metrics[-1]) < 0.25) == is_adaptive
            assert (steepest > 5) == (shown == "SGD")
            if shown == "SGD as given":
                assert max(went) < 0.0003
            else:
                assert 0.004 < min(went) < max(went) < 0.05


def check_ablations(runs: Sequence[Run]) -> None:
    """Assert what the text says of single changes."""
    higher = {name: differences(runs, name) for name in ABLATIONS}
    assert {len(found) for found in higher.values()} == {len(SEEDS)}
    assert max(higher["warmup, stable, decay"]) < -0.03
    assert max(higher["constant"]) < 0
    assert max(higher["long warmup"]) < -0.025
    assert min(higher["no warmup"]) > 0.15
    assert min(higher["no clipping"]) > 0
    assert max(higher["no clipping"]) > 0.1
    assert -0.005 < min(higher["betas 0.9, 0.98"]) < max(higher["betas 0.9, 0.98"]) < 0
    assert sum(difference < 0 for difference in higher["betas 0.9, 0.999"]) == 2
    assert max(map(abs, higher["no decay"] + higher["decay 1"])) < 0.01
    momentum = mean_loss(named(runs, NAMES["SGD with momentum"]))
    assert abs(mean_loss(named(runs, "ablation-no-warmup")) - momentum) < 0.01

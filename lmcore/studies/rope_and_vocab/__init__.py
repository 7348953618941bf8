"""What do rotary positions, attention within titles and the vocabulary's size buy on headlines?

Hypothesis: titles are short and each is a text of its own, so knowing the order of tokens matters
and how it is told hardly does; older titles carry nothing; and the vocabulary's size changes the
loss per token a great deal and the loss per character little.

Scientific hyperparameters: positions, RoPE's base, attention within titles, the vocabulary's size;
around a published recipe its norm, decay, layers and heads.
Nuisance hyperparameters: the learning rate, tried beside the one taken; the seed of weights.
Fixed hyperparameters: titles, split, batches, AdamW with its schedule, one epoch, no dropout.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmcore.config import with_fields
from lmcore.evaluation.attention_maps import attention_maps
from lmcore.experiments.experiment import Experiment, seeded, slug
from lmcore.experiments.run_folder import Run
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.report import plotting
from lmcore.report.tables import Table, bits_per_byte, named, per_character, told, validation
from lmcore.studies.baseline import CHALLENGE
from lmcore.studies.headlines import (
    LARGE_SEEDS,
    beside,
    by_place,
    by_position,
    draw_changes,
    draw_guesses,
    gained,
    guess,
    last,
    loss,
    mean_loss,
    next_token,
    unigram_level,
    unigram_nats,
    whole,
)
from lmcore.tasks.titles import Corpus, TitlesConfig
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig

SEEDS = (201, 202, 203)
"""Chosen before any of them was run."""
TUNING_SEED = 21
"""Learning rates were tried on this one, and nothing else is shown of it."""
RATES = (2e-3, 4e-3, 8e-3)
"""The middle one is what the AdamW study's tuning found for this model, and is taken throughout."""
START = Experiment(
    study="rope_and_vocab",
    name="learned",
    seed=SEEDS[0],
    task=TitlesConfig(vocab_size=4_000),
    model=ModelConfig(
        vocab_size=4_000, d_model=128, n_layers=2, n_heads=4, d_ff=512, dropout=0.0
    ),
    train=TrainConfig(
        batch_size=16, order="sequential", epochs=1,
        optimizer=OptimizerConfig(lr=RATES[1]), schedule=ScheduleConfig(warmup_steps=36),
        evaluation=EvaluationConfig(log_every=100_000),
    ),
)  # fmt: skip
"""AdamW as the AdamW study tuned it, with the baseline's model at the budget of a sweep."""
POSITIONS: dict[str, dict[str, Any]] = {
    "none": {"positions": "none"},
    "learned": {},
    "sinusoidal": {"positions": "sinusoidal"},
    "sinusoidal, scaled": {"positions": "sinusoidal", "embedding_scale": 128**0.5},
    "RoPE 1e2": {"positions": "rope", "rope_base": 1e2},
    "RoPE 1e4": {"positions": "rope", "rope_base": 1e4},
    "RoPE 1e6": {"positions": "rope", "rope_base": 1e6},
}
"""What is changed in the model, by the name it is shown under; numbers are RoPE's base.

Scaled: the tokens' embeddings times sqrt(d_model), as the paper that brought sinusoidal positions
has it (Vaswani et al. 2017, 1706.03762)."""
ROPE = "RoPE 1e4"
CONFINED = ("none", "learned", ROPE)
"""The positions that are also run with attention within titles."""
TUNED = ("learned", ROPE)
SIZES = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
RECIPE = {"positions": "rope", "norm": "rms", "n_layers": 4, "n_heads": 4}
"""What a published entry to the challenge changes in the model, its text and code together."""
RECIPE_SIZE = 32_000


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is taken out of the published recipe: other numbers of corpus, model and training."""

    vocab_size: int = RECIPE_SIZE
    model: dict[str, Any]
    train: dict[str, Any]


CHANGES = {
    "learned positions": Change(model={"positions": "learned"}, train={}),
    "LayerNorm": Change(model={"norm": "layer"}, train={}),
    "vocabulary of 16k": Change(vocab_size=16_000, model={}, train={}),
    "no decay": Change(model={}, train={"weight_decay": 0.0}),
    "6 layers": Change(model={"n_layers": 6}, train={}),
    "8 heads": Change(model={"n_heads": 8}, train={}),
}
"""One part at a time put back to what the baseline has."""
LONG_WARMUP = 144
"""Steps; four times as many as START has."""
CONTEXT_TRIED = 1024
"""Tokens in a row of what is read beyond the trained length."""
EXAMPLE = (" Time Warner will spend $100M on", " Snapchat", " original shows and ads")
"""A title of the challenge's data: what is read, the word that no model could know, the rest."""
ROWS_LOOKED_AT = 64


def variant(
    name: str,
    vocab_size: int = START.model.vocab_size,
    model: dict[str, Any] | None = None,
    **train: Any,
) -> Experiment:
    """Return START under another name, with other numbers of corpus, model and training."""
    return replace(
        START,
        name=name,
        task=replace(START.task, vocab_size=vocab_size),
        model=replace(START.model, vocab_size=vocab_size, **(model or {})),
        train=with_fields(START.train, train),
    )


def positions() -> list[Experiment]:
    """Return a run of each kind of positions, and of some with attention within titles."""
    crossing = [variant(slug(name), model=changes) for name, changes in POSITIONS.items()]
    within = [
        variant(f"{slug(name)}-within-titles", model=POSITIONS[name], within_documents=True)
        for name in CONFINED
    ]
    return [*crossing, *within]


def warmed() -> list[Experiment]:
    """Return RoPE across titles and within them, with a longer warmup."""
    plan = {"model": POSITIONS[ROPE], "warmup_steps": LONG_WARMUP}
    return [
        variant(long_warmup(slug(ROPE)), **plan),
        variant(long_warmup(within(ROPE)), within_documents=True, **plan),
    ]


def of_size(vocab_size: int) -> Experiment:
    """Return the run of a vocabulary, with RoPE."""
    if vocab_size == START.model.vocab_size:
        return variant(slug(ROPE), model=POSITIONS[ROPE])
    return variant(f"vocabulary-{vocab_size}", vocab_size, POSITIONS[ROPE])


def put_back(change: str) -> str:
    """Return the name of the recipe's experiment in which one of CHANGES is made."""
    return f"recipe-{slug(change)}"


def recipe() -> list[Experiment]:
    """Return the published recipe at the budget of a sweep, and each of its parts put back."""
    changed = [
        variant(put_back(name), change.vocab_size, RECIPE | change.model, **change.train)
        for name, change in CHANGES.items()
    ]
    return [variant("recipe", RECIPE_SIZE, RECIPE), *changed]


def tuning() -> list[Experiment]:
    """Return what differs most from START at the learning rates beside its own, and at that."""
    tried = [variant(slug(name), model=POSITIONS[name]) for name in TUNED]
    tried += [each for each in positions() if each.name == within(ROPE)]
    return [
        replace(
            each, name=f"tune-{each.name}-lr{lr:g}", seed=TUNING_SEED,
            train=with_fields(each.train, lr=lr),
        )
        for each in tried
        for lr in RATES
    ]  # fmt: skip


def sweeps(most: int = len(SEEDS)) -> list[Experiment]:
    """Return every run that is shown, no more than most seeds of each."""
    sizes = [of_size(size) for size in SIZES if size != START.model.vocab_size]
    compared = [*positions(), *warmed(), *sizes, *recipe()]
    return [*seeded(compared, SEEDS[:most]), *tuning()]


def large() -> list[Experiment]:
    """Return the published recipe at the baseline's size, with the AdamW study's training.

    It is of another size than the sweeps, and stands in no table or figure with them.
    """
    recipe = Experiment(
        study=START.study,
        name="large-recipe",
        seed=LARGE_SEEDS[0],
        task=TitlesConfig(vocab_size=RECIPE_SIZE),
        model=ModelConfig(vocab_size=RECIPE_SIZE, d_ff=2048, **RECIPE),
        train=with_fields(
            CHALLENGE,
            {"optimizer.kind": "adamw", "lr": 1e-3, "weight_decay": 0.1, "warmup_steps": 49},
        ),
    )
    return seeded([recipe], LARGE_SEEDS)


def experiments() -> list[Experiment]:
    """Return the sweeps, and the recipe at the baseline's size."""
    return [*sweeps(), *large()]


def probe(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return what the figures show of a trained model and its text, small enough to keep."""
    counts = np.bincount(corpus.train.ids, minlength=corpus.tokenizer.vocab_size)
    before, unknown, rest = (corpus.tokenizer.encode(part) for part in EXAMPLE)
    start = [corpus.eos_id, *before]
    found = {
        "next_token": next_token(model, corpus),
        "unknowable": guess(model, corpus, [*start, unknown[0]]),
        "frequency": {"unigram_nats": unigram_nats(counts, corpus.validation.ids)},
        "by_place": by_place(model, corpus),
        "title": title_map(model, corpus, [*start, *unknown, *rest]),
    }
    if not corpus.within_documents:
        found["across"] = across(model, corpus)
        if model.config.positions != "learned":
            found["by_position"] = by_position(model, corpus, CONTEXT_TRIED, CONTEXT_TRIED // 32)
    return found


def title_map(model: GPT, corpus: Corpus, ids: list[int]) -> dict[str, Any]:
    """Return how much each token of a title attends to itself and those before, in percent.

    One list for each layer and head holds one for each token; tokens past the context are left out.
    """
    ids = ids[: model.config.context_length]
    weights = attention_maps(model, torch.tensor([ids], device=model.head_weight.device))
    percent = (100 * weights[:, 0]).round().int().tolist()
    maps = [[[row[: i + 1] for i, row in enumerate(h)] for h in layer] for layer in percent]
    return {"tokens": [corpus.tokenizer.decode([id]) for id in ids], "percent": maps}


def across(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return for each layer the share of attention that goes to other titles than the token's own.

    It is the mean over heads and the first windows of the validation text; beside it stands what
    equal attention to every token so far would give.
    """
    length = model.config.context_length
    rows = min(ROWS_LOOKED_AT, (len(corpus.validation.ids) - 1) // length)
    ids = torch.from_numpy(corpus.validation.ids[: rows * length].astype(np.int64))
    x = ids.view(rows, length).to(model.head_weight.device)
    titles = (x == corpus.eos_id).cumsum(1)  # an <eos> is read as the first token of the next
    other = titles[:, :, None] != titles[:, None, :]
    equal = torch.ones(length, length).tril() / torch.arange(1, length + 1)[:, None]
    layers = [w * other[:, None] for w in attention_maps(model, x)]
    return {
        "layers": [round(w.sum(-1).mean().item(), 4) for w in layers],
        "equal": round((equal.to(x.device) * other).sum(-1).mean().item(), 4),
    }


# What is read off runs


def within(name: str) -> str:
    """Return the name of the experiment like name's with attention within titles."""
    return f"{slug(name)}-within-titles"


def long_warmup(name: str) -> str:
    """Return the name of the experiment like the one of this name with a longer warmup."""
    return f"{name}-long-warmup"


def differences(runs: Sequence[Run], name: str, other: str) -> list[float]:
    """Return how much higher an experiment ends than another, seed by seed."""
    return [a - b for a, b in beside(named(runs, name), named(runs, other))]


def by_test(runs: Sequence[Run], name: str, other: str) -> list[float]:
    """Return how much higher on test titles an experiment ends than another, seed by seed."""
    known = {run.config.seed: test_loss(run) for run in whole(named(runs, other))}
    return [test_loss(run) - known[run.config.seed] for run in whole(named(runs, name))]


def of_token(run: Run) -> float:
    """Return nats per token of all validation tokens in the end."""
    score = validation(run)
    return score["nats"] / score["n_tokens"]


def test_loss(run: Run) -> float:
    """Return nats per character of titles that the tokenizer did not see either."""
    return per_character(run.outcome["test"])


def tuned_loss(runs: Sequence[Run], name: str, lr: float) -> float:
    """Return the loss in the end of an experiment at one of the learning rates tried."""
    return mean_loss(named(runs, f"tune-{name}-lr{lr:g}"))


def mean_by(runs: Sequence[Run], what: str, least: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return (bins, nats per token) of what the probe sums by bin, the mean over runs.

    Bins with a smaller share than least of the first one's tokens are left out.
    """
    found = [run.outcome["probe"][what] for run in runs]
    counts = np.array(found[0]["n"])
    nats = np.mean([each["nats"] for each in found], axis=0)
    known = counts > least * counts[0]
    return np.flatnonzero(known).astype(float), nats[known] / counts[known]


# Tables


STEPS = {
    "AdamW, learned positions": "learned",
    "RoPE": slug(ROPE),
    "RoPE, within titles": within(ROPE),
    "RoPE, longer warmup": long_warmup(slug(ROPE)),
    "RoPE, vocabulary of 32k": of_size(RECIPE_SIZE).name,
    "the published recipe": "recipe",
}
"""The experiments that make up what was gained, by the name they are shown under."""


POSITION_NAMES = [each.name for each in positions()]
SIZE_NAMES = [of_size(size).name for size in SIZES]
RECIPE_NAMES = [each.name for each in recipe()]


def findings(runs: Sequence[Run]) -> Table:
    """Return what each step gained at the budget of a sweep, and which runs say so."""
    return gained("RoPE and vocabulary", STEPS, runs)


def positions_table(runs: Sequence[Run]) -> Table:
    """Return what each kind of positions reaches, across titles and within them."""
    rows = []
    for shown in POSITIONS:
        own = named(runs, slug(shown))
        is_confined = shown in CONFINED
        inner = named(runs, within(shown))
        confined = differences(runs, within(shown), slug(shown))
        rows.append(
            (
                shown,
                told([loss(run) for run in own], 4),
                told(differences(runs, slug(shown), "learned"), 4) if shown != "learned" else "",
                told([loss(run) for run in inner], 4) if is_confined else "not run",
                told(confined, 4) if is_confined else "",
                f"{own[0].config.model.n_parameters:,}" if own else "",
            )
        )
    header = (
        "positions", "nats/character", "higher than learned", "within titles",
        "higher than across", "parameters",
    )  # fmt: skip
    return Table(header, tuple(rows))


def own_token(run: Run) -> list[float]:
    """Return for each layer how much tokens of one title, but its first, attend to themselves.

    In percent, the mean over heads.
    """
    layers = run.outcome["probe"]["title"]["percent"]
    return [statistics.fmean(row[-1] for head in heads for row in head[1:]) for heads in layers]


def attention_table(runs: Sequence[Run]) -> Table:
    """Return layer by layer what share of attention goes to older titles, and to the own token."""
    kinds = {shown: slug(shown) for shown in POSITIONS}
    kinds |= {f"{shown}, within titles": within(shown) for shown in CONFINED}
    rows, n = [], START.model.n_layers
    for shown, name in kinds.items():
        own = whole(named(runs, name))
        older = [
            run.outcome["probe"]["across"]["layers"]
            for run in own
            if "across" in run.outcome["probe"]
        ]
        told_ = [
            told([100 * each[i] for each in older], 1, " %") if older else "" for i in range(n)
        ]
        told_ += [told([own_token(run)[i] for run in own], 1, " %") for i in range(n)]
        rows.append((shown, *told_))
    equal = whole(named(runs, slug(ROPE)))[0].outcome["probe"]["across"]["equal"]
    rows.append(("equal attention to all tokens so far", *[f"{100 * equal:.1f} %"] * n, *[""] * n))
    layers = range(1, n + 1)
    header = (
        "positions", *(f"older titles, layer {i}" for i in layers),
        *(f"own token, layer {i}" for i in layers),
    )  # fmt: skip
    return Table(header, tuple(rows))


def warmup_table(runs: Sequence[Run]) -> Table:
    """Return what RoPE reaches across titles and within them after each warmup."""
    rows = []
    for steps, renamed in ((START.train.schedule.warmup_steps, str), (LONG_WARMUP, long_warmup)):
        across, inner = renamed(slug(ROPE)), renamed(within(ROPE))
        ends = [told([loss(run) for run in named(runs, name)], 4) for name in (across, inner)]
        own = [
            told([own_token(run)[0] for run in whole(named(runs, name))], 1, " %")
            for name in (across, inner)
        ]
        rows.append((f"{steps} steps", *ends, told(differences(runs, inner, across), 4), *own))
    header = (
        "warmup", "across titles", "within titles", "higher by", "own token, across",
        "own token, within",
    )  # fmt: skip
    return Table(header, tuple(rows))


def vocabulary_table(runs: Sequence[Run]) -> Table:
    """Return what each size of vocabulary reaches in each unit, and what it costs."""
    rows = []
    for size in SIZES:
        own = named(runs, of_size(size).name)
        if not own:
            continue
        done = whole(own)
        steps = own[0].metrics[-1]["step"]
        plan = own[0].config
        tokens = steps * plan.train.batch_size * plan.model.context_length
        rows.append(
            (
                f"{size:,}",
                told([of_token(run) for run in done], 3),
                told([loss(run) for run in own], 4),
                told([last(run, "validation", bits_per_byte) for run in own], 3),
                told([test_loss(run) for run in done], 4),
                f"{tokens / 1e6:.2f}",
                f"{plan.model.n_parameters / 1e6:.2f}",
                told([1000 * run.environment["training_s"] / steps for run in own], 0),
            )
        )
    header = (
        "vocabulary", "nats/token", "nats/character", "bits/byte", "test, nats/character",
        "tokens, millions", "parameters, millions", "ms/step",
    )  # fmt: skip
    return Table(header, tuple(rows))


def recipe_table(runs: Sequence[Run]) -> Table:
    """Return the published recipe, then each of its parts put back and how much higher it ends."""
    rows, names = [], {"nothing": "recipe"} | {each: put_back(each) for each in CHANGES}
    for shown, name in names.items():
        own = named(runs, name)
        higher = told(differences(runs, name, "recipe"), 4) if name != "recipe" else ""
        size = f"{own[0].config.model.n_parameters / 1e6:.2f}" if own else ""
        rows.append((shown, told([loss(run) for run in own], 4), higher, size))
    header = (
        "put back", "nats/character", "higher than the recipe", "parameters, millions"
    )  # fmt: skip
    return Table(header, tuple(rows))


def tuning_table(runs: Sequence[Run]) -> Table:
    """Return the loss in the end at each learning rate that was tried."""
    names = dict.fromkeys(each.name.removeprefix("tune-").split("-lr")[0] for each in tuning())
    rows = [
        (name, *(told([loss(r) for r in named(runs, f"tune-{name}-lr{lr:g}")], 4) for lr in RATES))
        for name in names
    ]
    return Table(("experiment", *(f"lr {lr:g}" for lr in RATES)), tuple(rows))


# Figures


COLORS = {
    "none": plotting.REFERENCE,
    "learned": "#e69f00",
    "sinusoidal": "#cc79a7",
    "sinusoidal, scaled": "#d55e00",
    "RoPE 1e2": "#56b4e9",
    ROPE: plotting.OURS,
    "RoPE 1e6": plotting.OTHER,
}
"""One for each kind of positions, from the same palette."""
LEAST = 0.05
"""A place in a title is shown where more than this share of titles have it."""


def plot_positions(runs: Sequence[Run]) -> Figure:
    """Return the loss in the end of each kind of positions, across titles and within them."""
    fig, ax = plt.subplots()
    for place, shown in enumerate(POSITIONS):
        for name, offset, look in (
            (slug(shown), -0.12, {"mfc": COLORS[shown]}),
            (within(shown), 0.12, {"mfc": "white"}),
        ):
            found = [loss(run) for run in whole(named(runs, name))]
            dots = {"color": COLORS[shown], "ms": 5} | look
            ax.plot(found, [place + offset] * len(found), "o", **dots)
    ax.set_yticks(range(len(POSITIONS)), list(POSITIONS))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("validation loss in the end, nats per character")
    ax.annotate(
        "● attention across titles   ○ within titles", (0.98, 0.97), xycoords="axes fraction",
        ha="right", va="top", fontsize=9,
    )  # fmt: skip
    return fig


def plot_places(runs: Sequence[Run]) -> Figure:
    """Return the loss by place in a title, and how it differs from learned positions'."""
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(plotting.WIDTH, 6), sharex=True)
    groups = {shown: whole(named(runs, slug(shown))) for shown in ("none", "learned", ROPE)}
    groups["RoPE within titles"] = whole(named(runs, within(ROPE)))
    _, learned = mean_by(groups["learned"], "by_place", LEAST)
    for shown, own in groups.items():
        if not own:
            continue
        places, nats = mean_by(own, "by_place", LEAST)
        look = {"color": COLORS.get(shown, COLORS[ROPE]), "lw": 1.4, "label": shown}
        look |= {} if shown in COLORS else {"ls": (0, (2, 2))}
        top.plot(places + 1, nats, **look)
        bottom.plot(places + 1, nats - learned, **look)
    top.set_ylabel("nats per token")
    bottom.set_ylabel("the same, less that of\nlearned positions")
    bottom.set_xlabel("place of the token in its title")
    bottom.set_xlim(0, 1.3 * (places[-1] + 1))
    plotting.name_ends(bottom)
    return fig


def plot_beyond(runs: Sequence[Run]) -> Figure:
    """Return the loss by position in windows far longer than those that were trained on."""
    fig, ax = plt.subplots(figsize=(plotting.WIDTH, 4.2))
    for shown in POSITIONS:
        own = whole(named(runs, slug(shown)))
        if not own or "by_position" not in own[0].outcome["probe"]:
            continue
        width = own[0].outcome["probe"]["by_position"]["width"]
        bins, nats = mean_by(own, "by_position")
        ax.plot(width * (bins + 0.5), nats, color=COLORS[shown], lw=1.4, label=shown)
    trained = runs[0].config.model.context_length
    ax.axvline(trained, color=plotting.REFERENCE, lw=1, ls=(0, (4, 3)), zorder=1)
    at = (trained, 0.97)
    ax.annotate(
        "trained up to here", at, xycoords=("data", "axes fraction"), xytext=(4, 0),
        textcoords="offset points", va="top", color=plotting.REFERENCE, fontsize=9,
    )  # fmt: skip
    ax.set_xlim(0, 1.25 * CONTEXT_TRIED)
    ax.set_xlabel("position in the window, tokens")
    ax.set_ylabel("validation loss, nats per token")
    plotting.name_ends(ax)
    return fig


def plot_vocabulary(runs: Sequence[Run]) -> Figure:
    """Return the same models' loss per token and per byte against the size of the vocabulary.

    Hollow dots and a broken line are test titles.
    """
    fig, axes = plt.subplots(1, 2, figsize=(plotting.WIDTH, 3.7))
    units = {
        "nats per token": of_token,
        "bits per byte": lambda run: last(run, "validation", bits_per_byte),
    }
    groups = {size: whole(named(runs, of_size(size).name)) for size in SIZES}
    for ax, (unit, value), color in zip(
        axes, units.items(), (plotting.OTHER, plotting.OURS), strict=True
    ):
        draw_sizes(ax, groups, value, {"color": color})
        ax.set_xscale("log")
        ax.set_xticks(SIZES, [f"{size // 1000}k" for size in SIZES])
        ax.minorticks_off()
        ax.set_xlabel("entries in the vocabulary (log scale)")
        ax.set_title(f"loss,\n{unit}", color=color)
    unseen = {"color": plotting.OURS, "mfc": "white", "ls": (0, (3, 2))}
    draw_sizes(axes[1], groups, lambda run: bits_per_byte(run.outcome["test"]), unseen)
    axes[1].annotate(
        "● validation titles\n○ test titles", (0.04, 0.06), xycoords="axes fraction", fontsize=9
    )
    return fig


def draw_sizes(
    ax: Axes, groups: dict[int, list[Run]], value: Callable[[Run], float], look: dict[str, Any]
) -> None:
    """Draw a value of runs by size of vocabulary: a dot a seed, a line through the means."""
    known = {size: [value(run) for run in own] for size, own in groups.items() if own}
    means = [statistics.fmean(found) for found in known.values()]
    ax.plot(list(known), means, lw=1.4, **look)
    points = [(size, each) for size, found in known.items() for each in found]
    ax.plot(*zip(*points, strict=True), "o", ms=4, **look | {"ls": "none"})


def plot_recipe(runs: Sequence[Run]) -> Figure:
    """Return how much higher the recipe ends with each of its parts put back, a dot each seed."""
    fig, ax = plt.subplots()
    draw_changes(ax, {each: differences(runs, put_back(each), "recipe") for each in CHANGES})
    ax.set_xlabel("higher than the published recipe, nats per character")
    return fig


def shown_groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of some kinds of positions, by the names they are shown under."""
    groups = {name: whole(named(runs, slug(name))) for name in CONFINED}
    return groups | {"RoPE, within titles": whole(named(runs, within(ROPE)))}


def plot_guesses(runs: Sequence[Run], which: str) -> Figure:
    """Return the likeliest tokens in the place called which, a panel for each of four models."""
    colors = COLORS | {"RoPE, within titles": COLORS[ROPE]}
    return draw_guesses(shown_groups(runs), which, colors)


def plot_title(runs: Sequence[Run]) -> Figure:
    """Return where each head of the first layer attends in one title, with RoPE and without."""
    kinds = {"none": "no positions", "learned": "learned", ROPE: "RoPE"}
    found = {
        said: whole(named(runs, slug(name)))[0].outcome["probe"]["title"]
        for name, said in kinds.items()
    }
    n_heads = len(next(iter(found.values()))["percent"][0])
    fig, axes = plt.subplots(
        len(found), n_heads, figsize=(plotting.WIDTH, 1.75 * len(found) + 0.4),
        sharex=True, sharey=True, squeeze=False,
    )  # fmt: skip
    for row, (said, title) in zip(axes, found.items(), strict=True):
        for number, (ax, head) in enumerate(zip(row, title["percent"][0], strict=True)):
            draw_map(ax, head, title["tokens"] if number == 0 else None)
        row[0].set_title(said, fontsize=9.5, pad=4)
    fig.supxlabel("token attended to; a panel for each head", fontsize=10)
    return fig


def draw_map(ax: Axes, rows: Sequence[Sequence[int]], tokens: Sequence[str] | None) -> None:
    """Draw how much each token, downwards, attends to each before it, the darker the more."""
    n = len(rows)
    square = np.full((n, n), np.nan)
    for i, row in enumerate(rows):
        square[i, : len(row)] = row
    ax.imshow(square, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    ax.grid(visible=False)
    ax.set_xticks([])
    if tokens:
        ax.set_yticks(np.arange(n), [plotting.shown(t) for t in tokens], fontsize=5.5)
    else:
        ax.tick_params(axis="y", length=0)


# What the text claims


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says of these runs."""
    check_positions(runs)
    check_titles(runs)
    check_beyond(runs)
    check_guesses(runs)
    check_rates(runs)
    check_vocabulary(runs)
    check_recipe(runs)
    check_large(runs)


def check_positions(runs: Sequence[Run]) -> None:
    """Assert what the text says of the kinds of positions."""
    assert all(len(whole(named(runs, name))) == len(SEEDS) for name in POSITION_NAMES)
    assert max(map(abs, differences(runs, "learned", "none"))) < 0.02
    turned = [slug(name) for name in POSITIONS if name.startswith("RoPE")]
    for name in turned:
        assert max(differences(runs, name, "learned")) < -0.05
        assert 0.945 < mean_loss(named(runs, name)) / mean_loss(named(runs, "learned")) < 0.96
        assert max(map(abs, differences(runs, name, slug(ROPE)))) < 0.01
    for run in named(runs, "sinusoidal"):
        assert abs(loss(run) / unigram_level(run) - 1) < 0.05
    for run in named(runs, slug("sinusoidal, scaled")):
        assert loss(run) < 0.8 * unigram_level(run)
    assert min(differences(runs, slug("sinusoidal, scaled"), "none")) > 0.08
    places = {
        name: mean_by(named(runs, name), "by_place", LEAST)[1]
        for name in ("none", "learned", slug(ROPE), within(ROPE))
    }
    assert np.ptp([nats[0] for nats in places.values()]) < 0.02
    ahead = places["learned"] - places[slug(ROPE)]
    assert ahead[2:].min() > 0.2
    assert ahead[2:].max() < 0.3


def check_titles(runs: Sequence[Run]) -> None:
    """Assert what the text says of older titles."""
    for name in CONFINED:
        assert min(differences(runs, within(name), slug(name))) > 0.015
    short = differences(runs, within(ROPE), slug(ROPE))
    long = differences(runs, long_warmup(within(ROPE)), long_warmup(slug(ROPE)))
    assert min(short) > 0.05
    assert all(b < 0.5 * a for a, b in zip(short, long, strict=True))
    assert min(long) > 0.015
    assert max(differences(runs, long_warmup(slug(ROPE)), slug(ROPE))) < -0.02
    for name in ("none", "learned", slug(ROPE)):
        for run in named(runs, name):
            found = run.outcome["probe"]["across"]
            assert 0.75 * found["equal"] < found["layers"][0] < found["equal"]
            assert own_token(run)[0] < 20
    for name in CONFINED:
        assert min(own_token(run)[0] for run in named(runs, within(name))) > 40


def check_beyond(runs: Sequence[Run]) -> None:
    """Assert what the text says of windows longer than those that were trained on."""
    found = {
        name: mean_by(named(runs, slug(name)), "by_position")[1]
        for name in POSITIONS
        if name != "learned"
    }
    trained = START.model.context_length // 32
    assert abs(found["none"][trained:].mean() - found["none"][:trained].mean()) < 0.1
    for name in ("RoPE 1e2", ROPE, "RoPE 1e6"):
        assert max(found[name][:trained] - found["none"][:trained]) < 0
    ends = [found[name][-4:].mean() for name in ("RoPE 1e2", "none", ROPE, "RoPE 1e6")]
    assert ends == sorted(ends)
    assert found["RoPE 1e6"][8:16].mean() > found["none"][8:16].mean()
    assert found[ROPE][8:16].mean() < found["none"][8:16].mean()
    jump = found["sinusoidal, scaled"][8:].mean() - found["sinusoidal, scaled"][:trained].mean()
    assert jump > 0.4


def check_guesses(runs: Sequence[Run]) -> None:
    """Assert what the text says of two places."""
    for own in shown_groups(runs).values():
        for run in own:
            probe = run.outcome["probe"]
            assert probe["next_token"]["top"][0]["token"] == "<eos>"
            assert probe["next_token"]["target_probability"] < 0.01
            assert probe["unknowable"]["target_probability"] < 0.001
            assert probe["unknowable"]["top"][0]["token"] == " the"


def check_rates(runs: Sequence[Run]) -> None:
    """Assert what the text says of the learning rates that were tried."""
    learned, turned, inner = (
        [tuned_loss(runs, name, lr) for lr in RATES]
        for name in ("learned", slug(ROPE), within(ROPE))
    )
    assert max(b - a for a, b in zip(learned, turned, strict=True)) < -0.04
    assert 0.06 < min(learned) - min(turned) < 0.08
    assert min(turned) == turned[1]
    assert min(learned) == learned[0]
    assert max(inner) - min(inner) < 0.012


def check_vocabulary(runs: Sequence[Run]) -> None:
    """Assert what the text says of the size of the vocabulary, and of what was gained in all."""
    groups = [named(runs, of_size(size).name) for size in SIZES]
    assert all(len(whole(own)) == len(SEEDS) for own in groups)
    by_token = [statistics.fmean(of_token(run) for run in own) for own in groups]
    by_byte = [
        statistics.fmean(last(run, "validation", bits_per_byte) for run in own) for own in groups
    ]
    assert by_token == sorted(by_token)
    assert by_byte[1:] == sorted(by_byte[1:], reverse=True)
    least = differences(runs, of_size(2_000).name, of_size(1_000).name)
    assert min(least) < 0 < max(least)
    small, large = (named(runs, of_size(size).name) for size in (START.model.vocab_size, SIZES[-1]))
    assert max(a / b for a, b in beside(large, small)) < 0.9
    assert 0.69 < large[0].metrics[-1]["step"] / small[0].metrics[-1]["step"] < 0.7
    plan = large[0].config.model
    assert round(plan.n_parameters / small[0].config.model.n_parameters) == 9
    assert round(100 * plan.vocab_size * plan.d_model / plan.n_parameters) == 95
    unseen = [statistics.fmean(test_loss(run) for run in own) for own in groups]
    assert unseen[1:] == sorted(unseen[1:], reverse=True)
    assert 0.92 < unseen[-1] / unseen[2] < 0.94
    assert 0.94 < unseen[-2] / unseen[2] < 0.95
    leaks = [statistics.fmean(test_loss(run) / loss(run) for run in own) for own in groups]
    assert max(abs(each - 1) for each in leaks[:-2]) < 0.005
    assert 1.01 < leaks[-2] < 1.015
    assert 1.04 < leaks[-1] < 1.045
    gains = {"learned": slug(ROPE), slug(ROPE): long_warmup(slug(ROPE))}
    gains |= {of_size(4_000).name: of_size(32_000).name}
    for before, after in gains.items():
        assert max(a / b for a, b in beside(named(runs, after), named(runs, before))) < 0.98
    assert max(map(abs, differences(runs, within(ROPE), "learned"))) < 0.02


def check_recipe(runs: Sequence[Run]) -> None:
    """Assert what the text says of the published recipe and its parts."""
    assert all(len(whole(named(runs, name))) == len(SEEDS) for name in RECIPE_NAMES)
    higher = {change: differences(runs, put_back(change), "recipe") for change in CHANGES}
    assert min(higher["learned positions"]) > 0.02
    assert 0.02 < statistics.fmean(higher["learned positions"]) < 0.03  # as public sweeps have it
    assert min(higher["vocabulary of 16k"]) > 0.035
    assert min(by_test(runs, put_back("vocabulary of 16k"), "recipe")) > 0.025
    assert all(-0.006 < each < -0.002 for each in higher["8 heads"])
    assert -0.002 < min(higher["6 layers"]) < 0 < max(higher["6 layers"]) < 0.012
    for part in ("LayerNorm", "no decay"):
        assert min(higher[part]) < 0 < max(higher[part])
        assert max(map(abs, higher[part])) < 0.004
    two_layers = differences(runs, "recipe", of_size(RECIPE_SIZE).name)
    assert max(map(abs, two_layers)) < 0.008
    assert statistics.fmean(two_layers) > 0


def check_large(runs: Sequence[Run]) -> None:
    """Assert what the text says of the baseline's size."""
    recipe, adamw = (named(runs, name) for name in ("large-recipe", "large-adamw-lr0.001"))
    start = [run for run in runs if (run.config.study, run.config.name) == ("baseline", "sgd")]
    assert [len(own) for own in (start, adamw, recipe)] == 3 * [len(LARGE_SEEDS)]
    assert all(0.65 < after / before < 0.66 for after, before in beside(recipe, start))
    assert all(0.945 < after / before < 0.96 for after, before in beside(recipe, adamw))
    tests = [{run.config.seed: test_loss(run) for run in own} for own in (start, adamw, recipe)]
    assert all(0.65 < tests[2][seed] / tests[0][seed] < 0.66 for seed in LARGE_SEEDS)
    assert all(0.95 < tests[2][seed] / tests[1][seed] < 0.965 for seed in LARGE_SEEDS)
    assert round(1.314 / 1.401, 2) == 0.94  # as published, corrected to every token
    same = ("optimizer", "lr", "weight_decay", "warmup", "betas", "batch_size", "epochs")
    plans = {tuple(getattr(run.config.train, f) for f in same) for run in (*recipe, *adamw)}
    assert len(plans) == 1
    steps = recipe[0].metrics[-1]["step"] / adamw[0].metrics[-1]["step"]
    assert 0.91 < steps < 0.94
    sizes = [own[0].config.model.n_parameters / 1e6 for own in (recipe, adamw)]
    assert [round(size) for size in sizes] == [29, 27]

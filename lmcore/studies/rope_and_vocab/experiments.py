"""What do rotary positions, attention within titles and the vocabulary's size buy on headlines?

Hypothesis: titles are short and each is a text of its own, so the order of tokens matters and how
it is encoded hardly does. Older titles carry no information. The vocabulary's size changes the loss
per token a great deal and the loss per character little.

Scientific hyperparameters: positions, RoPE's base, attention within titles, the vocabulary's size;
around a published recipe its norm, decay, layers and heads.
Nuisance hyperparameters: the learning rate, tried beside the one taken; the seed of weights.
Fixed hyperparameters: titles, split, batches, AdamW with its schedule, one epoch, no dropout.
"""

from dataclasses import dataclass, replace
from typing import Any

from lmcore.config import with_fields
from lmcore.experiments.experiment import Experiment, seeded, slug
from lmcore.model.config import ModelConfig
from lmcore.studies.adamw_swap import experiments as adamw_swap
from lmcore.studies.baseline import experiments as baseline
from lmcore.studies.baseline.experiments import CHALLENGE
from lmcore.studies.baseline.experiments import SEEDS as LARGE_SEEDS
from lmcore.tasks.titles import TitlesConfig
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig

SEEDS = (201, 202, 203)
"""Chosen before any of them was run."""
TUNING_SEED = 21
"""The seed for trying learning rates. Nothing else is shown of it."""
RATES = (2e-3, 4e-3, 8e-3)
"""The middle one is the AdamW study's best for this model, and all other runs use it."""
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
"""Changes to the model, by the name that tables show; numbers are RoPE's base.

Scaled means token embeddings times sqrt(d_model), as with the original sinusoidal positions
(Vaswani et al. 2017, 1706.03762)."""
ROPE = "RoPE 1e4"
CONFINED = ("none", "learned", ROPE)
"""The positions that also run with attention within titles."""
TUNED = ("learned", ROPE)
SIZES = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
RECIPE = {"positions": "rope", "norm": "rms", "n_layers": 4, "n_heads": 4}
"""Changes to the model of a published entry to the challenge, from its text and code."""
RECIPE_SIZE = 32_000


@dataclass(frozen=True, kw_only=True)
class Change:
    """A part of the published recipe that is changed back, in vocabulary, model or training."""

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
"""Parts of the recipe that are changed back to the baseline's, one at a time."""
LONG_WARMUP = 144
"""Warmup steps: four times those of START."""


def variant(
    name: str,
    vocab_size: int = START.model.vocab_size,
    model: dict[str, Any] | None = None,
    **train: Any,
) -> Experiment:
    """Return START with another name and these changes to vocabulary, model and training."""
    return replace(
        START,
        name=name,
        task=replace(START.task, vocab_size=vocab_size),
        model=replace(START.model, vocab_size=vocab_size, **(model or {})),
        train=with_fields(START.train, train),
    )


def positions() -> list[Experiment]:
    """Return each kind of positions, and some of them with attention within titles."""
    crossing = [variant(slug(name), model=changes) for name, changes in POSITIONS.items()]
    within = [
        variant(f"{slug(name)}-within-titles", model=POSITIONS[name], within_documents=True)
        for name in CONFINED
    ]
    return [*crossing, *within]


def longer_warmups() -> list[Experiment]:
    """Return RoPE with a longer warmup, across titles and within them."""
    plan = {"model": POSITIONS[ROPE], "warmup_steps": LONG_WARMUP}
    return [
        variant(long_warmup(slug(ROPE)), **plan),
        variant(long_warmup(within_titles(ROPE)), within_documents=True, **plan),
    ]


def with_vocabulary(vocab_size: int) -> Experiment:
    """Return the experiment with RoPE and this vocabulary size."""
    if vocab_size == START.model.vocab_size:
        return variant(slug(ROPE), model=POSITIONS[ROPE])
    return variant(f"vocabulary-{vocab_size}", vocab_size, POSITIONS[ROPE])


def recipe_name(change: str) -> str:
    """Return the name of the recipe's experiment with one of CHANGES."""
    return f"recipe-{slug(change)}"


def recipe() -> list[Experiment]:
    """Return the published recipe at the budget of a sweep, and its single changes."""
    changed = [
        variant(recipe_name(name), change.vocab_size, RECIPE | change.model, **change.train)
        for name, change in CHANGES.items()
    ]
    return [variant("recipe", RECIPE_SIZE, RECIPE), *changed]


def tuning() -> list[Experiment]:
    """Return the experiments that differ most from START at each of RATES."""
    tried = [variant(slug(name), model=POSITIONS[name]) for name in TUNED]
    tried += [experiment for experiment in positions() if experiment.name == within_titles(ROPE)]
    return [
        replace(
            experiment, name=f"tune-{experiment.name}-lr{lr:g}", seed=TUNING_SEED,
            train=with_fields(experiment.train, lr=lr),
        )
        for experiment in tried
        for lr in RATES
    ]  # fmt: skip


def sweeps(most: int = len(SEEDS)) -> list[Experiment]:
    """Return every experiment at the budget of a sweep, with at most `most` seeds each."""
    sizes = [with_vocabulary(size) for size in SIZES if size != START.model.vocab_size]
    compared = [*positions(), *longer_warmups(), *sizes, *recipe()]
    return [*seeded(compared, SEEDS[:most]), *tuning()]


def large() -> list[Experiment]:
    """Return the published recipe at the baseline's size, with the AdamW study's training.

    This model is larger than those of the sweeps, so no table or figure mixes them.
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


def all_experiments() -> list[Experiment]:
    """Return the sweeps, and the recipe at the baseline's size."""
    return [*sweeps(), *large()]


def compared_with() -> list[Experiment]:
    """Return the baseline and AdamW at its size, which the recipe's loss is compared with."""
    return [*baseline.all_experiments(), *adamw_swap.large()]


def ladder_ends() -> list[Experiment]:
    """Return one seed of the baseline and of the recipe at its size: the ends of the ladder."""
    return [baseline.BASELINE, large()[0]]


def within_titles(name: str) -> str:
    """Return the name of the same experiment with attention within titles."""
    return f"{slug(name)}-within-titles"


def long_warmup(name: str) -> str:
    """Return the name of the same experiment with a longer warmup."""
    return f"{name}-long-warmup"


STEPS = {
    "AdamW, learned positions": "learned",
    "RoPE": slug(ROPE),
    "RoPE, within titles": within_titles(ROPE),
    "RoPE, longer warmup": long_warmup(slug(ROPE)),
    "RoPE, vocabulary of 32k": with_vocabulary(RECIPE_SIZE).name,
    "the published recipe": "recipe",
}
"""The experiments of the table of steps, by the name that it shows."""


POSITION_NAMES = [experiment.name for experiment in positions()]
SIZE_NAMES = [with_vocabulary(size).name for size in SIZES]
RECIPE_NAMES = [experiment.name for experiment in recipe()]

"""What do rotary positions, attention within titles and the vocabulary's size buy on headlines?

Hypothesis: titles are short and each is a text of its own, so knowing the order of tokens matters
and how it is told hardly does; older titles carry nothing; and the vocabulary's size changes the
loss per token a great deal and the loss per character little.

Scientific hyperparameters: positions, RoPE's base, attention within titles, the vocabulary's size;
around a published recipe its norm, decay, layers and heads.
Nuisance hyperparameters: the learning rate, tried beside the one taken; the seed of weights.
Fixed hyperparameters: titles, split, batches, AdamW with its schedule, one epoch, no dropout.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lmcore.corpus import Corpus, CorpusConfig
from lmcore.experiment import Experiment, slug
from lmcore.headlines import by_place, by_position, guess, next_token, unigram_nats
from lmcore.looks import attention_weights
from lmcore.model import GPT, ModelConfig
from lmcore.train import TrainConfig

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
    corpus=CorpusConfig(vocab_size=4_000),
    model=ModelConfig(
        vocab_size=4_000, d_model=128, n_layers=2, n_heads=4, d_ff=512, dropout=0.0
    ),
    train=TrainConfig(
        batch_size=16, epochs=1, optimizer="adamw", lr=RATES[1], weight_decay=0.1, warmup=36,
        evaluate_at=(), record_every=100_000,
    ),
)  # fmt: skip
"""AdamW as the AdamW study tuned it, with the baseline's model at the budget of a sweep."""
POSITIONS: dict[str, dict[str, Any]] = {
    "none": {"positions": "none"},
    "learned": {},
    "sinusoidal": {"positions": "sinusoidal"},
    "RoPE 1e2": {"positions": "rope", "rope_base": 1e2},
    "RoPE 1e4": {"positions": "rope", "rope_base": 1e4},
    "RoPE 1e6": {"positions": "rope", "rope_base": 1e6},
}
"""What is changed in the model, by the name it is shown under; numbers are RoPE's base."""
ROPE = "RoPE 1e4"
CONFINED = ("none", "learned", ROPE)
"""The positions that are also run with attention within titles."""
TUNED = ("none", "learned", "sinusoidal", ROPE)
SIZES = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
TUNED_SIZES = (1_000, 32_000)
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
        corpus=replace(START.corpus, vocab_size=vocab_size),
        model=replace(START.model, vocab_size=vocab_size, **(model or {})),
        train=replace(START.train, **train),
    )


def positions() -> list[Experiment]:
    """Return a run of each kind of positions, and of some with attention within titles."""
    crossing = [variant(slug(name), model=changes) for name, changes in POSITIONS.items()]
    within = [
        variant(f"{slug(name)}-within-titles", model=POSITIONS[name], within_documents=True)
        for name in CONFINED
    ]
    return [*crossing, *within]


def of_size(vocab_size: int) -> Experiment:
    """Return the run of a vocabulary, with RoPE."""
    if vocab_size == START.model.vocab_size:
        return variant(slug(ROPE), model=POSITIONS[ROPE])
    return variant(f"vocabulary-{vocab_size}", vocab_size, POSITIONS[ROPE])


def recipe() -> list[Experiment]:
    """Return the published recipe at the budget of a sweep, and each of its parts put back."""
    put_back = [
        variant(f"recipe-{slug(name)}", change.vocab_size, RECIPE | change.model, **change.train)
        for name, change in CHANGES.items()
    ]
    return [variant("recipe", RECIPE_SIZE, RECIPE), *put_back]


def tuning() -> list[Experiment]:
    """Return what differs most from START at the learning rates beside its own, and at that."""
    tried = [variant(slug(name), model=POSITIONS[name]) for name in TUNED]
    tried += [of_size(size) for size in TUNED_SIZES]
    return [
        replace(
            each, name=f"tune-{each.name}-lr{lr:g}", seed=TUNING_SEED,
            train=replace(each.train, lr=lr),
        )
        for each in tried
        for lr in RATES
    ]  # fmt: skip


def sweeps(most: int = len(SEEDS)) -> list[Experiment]:
    """Return every run at the budget of a sweep, no more than most seeds of each."""
    sizes = [of_size(size) for size in SIZES if size != START.model.vocab_size]
    shown = [*positions(), *sizes, *recipe()]
    return [*(replace(each, seed=s) for each in shown for s in SEEDS[:most]), *tuning()]


def large() -> list[Experiment]:
    """Return the published recipe at the baseline's size, with the AdamW study's training.

    It is of another size than the sweeps, and stands in no table or figure with them.
    """
    model = ModelConfig(vocab_size=RECIPE_SIZE, **RECIPE)
    return [
        Experiment(
            study=START.study,
            name="large-recipe",
            seed=1337,
            corpus=CorpusConfig(vocab_size=RECIPE_SIZE),
            model=model,
            train=TrainConfig(optimizer="adamw", lr=1e-3, weight_decay=0.1, warmup=49),
        )
    ]


def experiments() -> list[Experiment]:
    """Return the sweeps, and the recipe at the baseline's size."""
    return [*sweeps(), *large()]


def probe(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return what the figures show of a trained model and its text, small enough to keep."""
    counts = np.bincount(corpus.train.ids, minlength=corpus.tokenizer.vocab_size)
    before, unknown, rest = (corpus.tokenizer.encode(part) for part in EXAMPLE)
    start = [corpus.end_id, *before]
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

    One list for each layer and head holds one for each token.
    """
    weights = attention_weights(model, torch.tensor([ids], device=model.head_weight.device))
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
    titles = (x == corpus.end_id).cumsum(1)  # an <eos> is read as the first token of the next
    other = titles[:, :, None] != titles[:, None, :]
    equal = torch.ones(length, length).tril() / torch.arange(1, length + 1)[:, None]
    layers = [w * other[:, None] for w in attention_weights(model, x)]
    return {
        "layers": [round(w.sum(-1).mean().item(), 4) for w in layers],
        "equal": round((equal.to(x.device) * other).sum(-1).mean().item(), 4),
    }

"""What does a small GPT learn from 90,000 headlines with plain SGD?

Hypothesis: little beyond how often each token occurs; at a learning rate of 6e-3 and with the
gradient clipped, 938 steps are too few to move the weights far from where they start.

Scientific hyperparameters: none, this is the baseline that later studies change one at a time.
Nuisance hyperparameters: the seed of weights and dropout.
Fixed hyperparameters: data, split, tokenizer, shape, optimizer, schedule, epochs.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from lmcore.corpus import Corpus, CorpusConfig
from lmcore.experiment import Experiment
from lmcore.model import GPT, ModelConfig
from lmcore.sample import generate, next_probabilities
from lmcore.train import TrainConfig

SEEDS = (1337, 1338, 1339)
BASELINE = Experiment(
    study="baseline",
    name="sgd",
    seed=SEEDS[0],
    corpus=CorpusConfig(),
    model=ModelConfig(vocab_size=16_000),
    train=TrainConfig(),
)
PUBLISHED = {
    1: 2.0980, 44: 1.9500, 132: 1.8419, 264: 1.7881, 440: 1.7657, 616: 1.7566, 792: 1.7536,
    938: 1.7533,
}  # fmt: skip
"""Step to validation value as the challenge publishes it, on its data set's first revision."""
TIME = 10
PROMPTS = ("", "Show HN:", "Why", "Google")


def experiments(seeds: tuple[int, ...] = SEEDS) -> list[Experiment]:
    """Return the baseline once for each seed; the first seed is the challenge's own."""
    return [replace(BASELINE, seed=seed) for seed in seeds]


def probe(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return what the figures show of a trained model and its text, small enough to keep."""
    return {
        "next_token": next_token(model, corpus),
        "samples": samples(model, corpus),
        "frequency": frequency(corpus),
    }


def next_token(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return the ten likeliest tokens at batch 0, time 10 of the validation text."""
    decode = corpus.tokenizer.decode
    ids = [int(id) for id in corpus.validation.ids[: TIME + 2]]
    probabilities = next_probabilities(model, ids[:-1])
    top = probabilities.topk(10)
    return {
        "input": decode(ids[:-1]),
        "target": decode(ids[-1:]),
        "target_probability": probabilities[ids[-1]].item(),
        "top": [
            {"token": decode([id]), "probability": value}
            for id, value in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ],
    }


def samples(model: GPT, corpus: Corpus) -> list[dict[str, Any]]:
    """Return a text for each prompt and temperature, the seed said, none left out."""
    encode, end = corpus.tokenizer.encode, corpus.end_id
    out = []
    for prompt in PROMPTS:
        start = [end, *(encode(f" {prompt}") if prompt else [])]
        for temperature in (0.0, 1.0):
            ids = generate(model, start, 24, temperature=temperature, seed=0, stop_id=end)
            text = corpus.tokenizer.decode(ids)
            out.append({"prompt": prompt, "temperature": temperature, "seed": 0, "text": text})
    return out


def frequency(corpus: Corpus, n_points: int = 120) -> dict[str, Any]:
    """Return how often tokens occur in the training text: by rank, and by name for the top.

    With it, what the validation text costs a model that knows these frequencies alone.
    """
    counts = np.bincount(corpus.train.ids, minlength=corpus.tokenizer.vocab_size)
    order = np.argsort(-counts, kind="stable")
    n_seen = int((counts > 0).sum())
    ranks = np.unique(np.geomspace(1, n_seen, n_points).round().astype(int))
    return {
        "n_tokens": int(counts.sum()),
        "n_distinct": n_seen,
        "unigram_nats": unigram_nats(counts, corpus.validation.ids),
        "by_rank": [[int(rank), int(counts[order[rank - 1]])] for rank in ranks],
        "top": [
            {"token": corpus.tokenizer.decode([int(id)]), "count": int(counts[id])}
            for id in order[:20]
        ],
    }


def unigram_nats(counts: np.ndarray, ids: np.ndarray) -> float:
    """Return the nats that ids cost a model that knows only how often tokens occurred, plus one.

    This is where a model ends that has learned frequencies and nothing of the context.
    """
    chances = (counts + 1) / (counts + 1).sum()
    return float(-np.log(chances[ids]).sum())

"""What is kept of a trained baseline: its guess, its samples and its token counts."""

from typing import Any

import numpy as np

from lmcore.generation.generate import generate
from lmcore.generation.sampling import Sampling
from lmcore.model.gpt import GPT
from lmcore.studies.headlines.probes import next_token, unigram_nats
from lmcore.tasks.titles import Corpus

PROMPTS = ("", "Show HN:", "Why", "Google")


def probe(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return what figures and tables need of a trained model and its text."""
    return {
        "next_token": next_token(model, corpus),
        "samples": samples(model, corpus),
        "frequency": frequency(corpus),
    }


def samples(model: GPT, corpus: Corpus) -> list[dict[str, Any]]:
    """Return every sample: one for each prompt and temperature, with its seed."""
    encode, end = corpus.tokenizer.encode, corpus.eos_id
    out = []
    for prompt in PROMPTS:
        start = [end, *(encode(f" {prompt}") if prompt else [])]
        for temperature in (0.0, 1.0):
            sampling = Sampling(temperature=temperature)
            ids = generate(model, start, 24, sampling, seed=0, stop_ids=[end])
            text = corpus.tokenizer.decode(ids)
            out.append({"prompt": prompt, "temperature": temperature, "seed": 0, "text": text})
    return out


def frequency(corpus: Corpus, n_points: int = 120) -> dict[str, Any]:
    """Return token counts of the training text by rank, and the most frequent tokens.

    Also returns the nats of the validation text under these frequencies.
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

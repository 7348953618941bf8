"""What is kept of a trained model."""

from typing import Any

import numpy as np

from lmcore.model.gpt import GPT
from lmcore.studies.headlines.probes import next_token, unigram_nats
from lmcore.tasks.titles import Corpus


def probe(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return what figures and claims need of a trained model and its text."""
    counts = np.bincount(corpus.train.ids, minlength=corpus.tokenizer.vocab_size)
    return {
        "next_token": next_token(model, corpus),
        "frequency": {"unigram_nats": unigram_nats(counts, corpus.validation.ids)},
    }

"""What is kept of a model of stories: what it writes, and how scoring and sampling change that."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, cast

import numpy as np

from lmcore.evaluation.sliding_window import sliding_token_nats
from lmcore.evaluation.text_metrics import TextIndex, text_metrics
from lmcore.generation.generate import generate
from lmcore.generation.sampling import Sampling
from lmcore.model.gpt import GPT
from lmcore.studies.headlines.probes import unigram_nats
from lmcore.tasks.text_corpus import TextCorpus

N_TEXTS = 16
"""Texts that are written for each setting, after nothing but the end of a story."""
TEMPERATURES = (0.0, 0.5, 0.8, 1.0, 1.3)
TOP_PS = (0.5, 0.9, 1.0)
SCORED = 16_000
"""Tokens of the validation text that are scored with each stride."""
READ = 40
"""Tokens of the validation text that are shown."""
SHOWN = 2
"""Texts that are kept as they are."""


def probe(model: GPT, corpus: TextCorpus) -> dict[str, Any]:
    """Return the metrics of texts that model draws from its own distribution, and two of them.

    With them comes what `counting` says of the text itself.
    """
    index = TextIndex(corpus.train_texts)
    return writing(model, corpus, index, Sampling()) | {"counting": counting(corpus)}


def counting(corpus: TextCorpus) -> dict[str, Any]:
    """Return nats per token of both splits under the frequencies of the training tokens.

    The two are close if one tokenizer made both splits. The first validation tokens are
    decoded with the tokenizer of the training tokens.
    """
    train, validation = corpus.train.ids, corpus.validation.ids
    counts = np.bincount(train, minlength=corpus.tokenizer.vocab_size)
    return {
        "train": round(unigram_nats(counts, train) / len(train), 4),
        "validation": round(unigram_nats(counts, validation) / len(validation), 4),
        "validation_reads": corpus.tokenizer.decode(validation[:READ]),
    }


def writing(model: GPT, corpus: TextCorpus, index: TextIndex, sampling: Sampling) -> dict[str, Any]:
    """Return the metrics of N_TEXTS texts that model writes, and the first of them.

    A text has at most as many tokens as the model attends to.
    """
    limit, eos = model.config.context_length - 1, corpus.eos_id
    prompts = [[eos]] * N_TEXTS
    written = generate(model, prompts, limit, sampling, stop_ids=(eos,), tokenizer=corpus.tokenizer)
    rows = cast(list[list[int]], written)
    texts = [corpus.tokenizer.decode(ids) for ids in rows]
    metrics = text_metrics(texts, [len(ids) < limit for ids in rows], index)
    rounded = {name: round(value, 4) for name, value in asdict(metrics).items()}
    return {"metrics": rounded, "texts": texts[:SHOWN]}


def history(weights: Iterator[tuple[int, GPT]], model: GPT, corpus: TextCorpus) -> dict[str, Any]:
    """Return the metrics of texts by step, by temperature and top-p, and the loss by stride."""
    index = TextIndex(corpus.train_texts)
    grid = [(t, p) for t in TEMPERATURES for p in TOP_PS if t or p == 1]
    sampled = [
        {"temperature": t, "top_p": p}
        | writing(model, corpus, index, Sampling(temperature=t, top_p=p))
        for t, p in grid
    ]
    strides = by_stride(model, corpus)
    steps = [{"step": step} | writing(then, corpus, index, Sampling()) for step, then in weights]
    return {"sampling": sampled, "strides": strides, "steps": steps}


def by_stride(model: GPT, corpus: TextCorpus) -> list[dict[str, int | float]]:
    """Return nats per token of the first validation tokens in windows that overlap more and more.

    A stride as long as the context is the house score, in windows that do not overlap.
    """
    ids, context = corpus.validation.ids[:SCORED], model.config.context_length
    out = []
    for stride in (context, context // 2, context // 4, context // 8, context // 16):
        nats, _ = sliding_token_nats(model, ids, stride, corpus.eos_id)
        out.append({"stride": stride, "nats": round(nats.mean().item(), 5), "n": len(nats)})
    return out

"""What is kept of a trained model: two guesses, losses by place, and attention maps."""

from typing import Any

import numpy as np
import torch

from lmcore.evaluation.attention_maps import attention_maps
from lmcore.model.gpt import GPT
from lmcore.studies.headlines.probes import by_place, by_position, guess, next_token, unigram_nats
from lmcore.tasks.titles import Corpus

CONTEXT_TRIED = 1024
"""The context length at which models are scored beyond their trained length."""
EXAMPLE = (" Time Warner will spend $100M on", " Snapchat", " original shows and ads")
"""A title of the challenge's data: the input, a word that no model can know, the rest."""
ROWS_LOOKED_AT = 64


def probe(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return what figures and tables need of a trained model and its text."""
    counts = np.bincount(corpus.train.ids, minlength=corpus.tokenizer.vocab_size)
    before, unknown, rest = (corpus.tokenizer.encode(part) for part in EXAMPLE)
    start = [corpus.eos_id, *before]
    probes = {
        "next_token": next_token(model, corpus),
        "unknowable": guess(model, corpus, [*start, unknown[0]]),
        "frequency": {"unigram_nats": unigram_nats(counts, corpus.validation.ids)},
        "by_place": by_place(model, corpus),
        "title": title_map(model, corpus, [*start, *unknown, *rest]),
    }
    if not corpus.within_documents:
        probes["across"] = across(model, corpus)
        if model.config.positions != "learned":
            probes["by_position"] = by_position(model, corpus, CONTEXT_TRIED, CONTEXT_TRIED // 32)
    return probes


def title_map(model: GPT, corpus: Corpus, ids: list[int]) -> dict[str, Any]:
    """Return the attention of a title's tokens to themselves and to earlier ones, in percent.

    There is a list of rows for each layer and head. Tokens beyond the context are left out.
    """
    ids = ids[: model.config.context_length]
    weights = attention_maps(model, torch.tensor([ids], device=model.head_weight.device))
    percent = (100 * weights[:, 0]).round().int().tolist()
    maps = [[[row[: i + 1] for i, row in enumerate(h)] for h in layer] for layer in percent]
    return {"tokens": [corpus.tokenizer.decode([id]) for id in ids], "percent": maps}


def across(model: GPT, corpus: Corpus) -> dict[str, Any]:
    """Return for each layer the share of attention to older titles.

    It is the mean over heads and the first windows of the validation text. `equal` is the share
    that equal attention to all tokens so far would have.
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

"""What is kept of a trained model: what it writes, or what it learned of arithmetic."""

import copy
from collections.abc import Iterator
from typing import Any

from lmcore.generation.probabilities import next_probabilities
from lmcore.model.gpt import GPT
from lmcore.studies.grokking import circuits, keywaves
from lmcore.tasks.modular import Table as Data
from lmcore.tasks.sentence import Sentence


def probe(model: GPT, data: Data | Sentence) -> dict[str, Any]:
    """Return what tables and claims need of a trained model."""
    if isinstance(data, Sentence):
        return {"written": continuation(model, data)}
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


def history(weights: Iterator[tuple[int, GPT]], model: GPT, data: Data) -> dict[str, Any]:
    """Return what is kept of the weights saved during training, with the leak and without.

    All of them fit in memory.
    """
    by_step = [(step, copy.deepcopy(then)) for step, then in weights]
    without_leak = keywaves.history(iter(by_step), model, data)
    return circuits.history(iter(by_step), model, data) | {"without leak": without_leak}


def continuation(model: GPT, data: Sentence) -> str:
    """Return the sentence that the model writes after its first character, by greedy decoding.

    The model reads a sliding window of its context length, as in training.
    """
    ids = data.config.ids(data.config.sentence[0])
    while len(ids) < len(data.config.sentence):
        ids.append(int(next_probabilities(model, ids).argmax()))
    return "".join(data.config.characters[i] for i in ids)

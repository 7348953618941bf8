"""What a model of modular arithmetic has learned: key frequencies, neurons, where it attends.

Frequencies are those of Nanda et al. 2023 (2301.05217), in logarithms where the operation is one
of the multiplicative group.
"""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lmcore.evaluation.attention_maps import attention_maps
from lmcore.model.gpt import GPT
from lmcore.studies.grokking import spectra
from lmcore.tasks.modular import OPERATIONS, ModularConfig
from lmcore.tasks.modular import Table as Data

SIGNS: dict[str, spectra.Sign] = {"+": 1, "-": -1, "*": 1, "/": -1}
"""Whether an answer is a function of a + b or of a - b, for * and / of their logarithms."""
BY_LOGARITHM = ("*", "/")
TOGETHER = 0.9
"""The share of the logits' waves that key frequencies have together."""


def order_of(config: ModularConfig) -> np.ndarray:
    """Return the numbers in the order in which the operation is addition or subtraction."""
    is_log = config.operations[0] in BY_LOGARITHM
    return spectra.powers(config.p) if is_log else np.arange(config.p)


def grid(config: ModularConfig) -> tuple[torch.Tensor, np.ndarray]:
    """Return the tokens of every pair in `order_of`, row by row, and the table of answers."""
    order = order_of(config)
    a, b = (numbers.ravel() for numbers in np.meshgrid(order, order, indexing="ij"))
    answers = OPERATIONS[config.operations[0]](a, b, config.p)
    tokens = np.stack([a, b, np.full_like(a, config.n_numbers)], axis=1)
    return torch.from_numpy(tokens), answers.reshape(len(order), -1)


@torch.no_grad()
def logit_table(model: GPT, config: ModularConfig) -> np.ndarray:
    """Return the logits of the numbers for every pair of `grid`, minus each pair's mean."""
    tokens, answers = grid(config)
    logits = torch.cat([model(part, last=1)[:, 0, : config.p] for part in tokens.split(2048)])
    logits = logits - logits.mean(-1, keepdim=True)
    return logits.numpy().reshape(*answers.shape, -1)


def trained_pairs(data: Data) -> np.ndarray:
    """Return for every pair of `grid` whether training saw it."""
    order, config = order_of(data.config), data.config
    seen = np.zeros((config.p, config.p), bool)
    rows = config.table[data.train]
    seen[rows[:, 0], rows[:, 1]] = True
    return seen[np.ix_(order, order)]


def claim(model: GPT, data: Data) -> dict[str, Any]:
    """Return the accuracy on unseen pairs with and without the key frequencies.

    Key frequencies are the fewest with a share of TOGETHER in the power of all waves of a ± b, or
    of their logarithms, in the logits. The control keeps as many of the strongest others.
    """
    config = data.config
    sign, table = SIGNS[config.operations[0]], logit_table(model, config)
    answers, unseen = grid(config)[1], ~trained_pairs(data)
    power = spectra.wave_power(table, sign).sum(-1)
    share = spectra.shares(power)
    keys = spectra.key_frequencies(share, TOGETHER) if share.any() else []
    others = [k for k in (np.argsort(-share) + 1).tolist() if k not in keys][: len(keys)]

    def right(logits: np.ndarray) -> float:
        return spectra.loss_and_accuracy(logits[unseen], answers[unseen])[1]

    return {
        "keys": keys,
        "waves": float(power[1:].sum() / (np.square(table - table.mean((0, 1))).sum() or 1)),
        "share": [round(float(value), 4) for value in share],
        "embedding": [round(float(value), 4) for value in embedding_share(model, config)],
        "neurons": neuron_shares(model, config),
        "whole": right(table),
        "only keys": right(spectra.restricted(table, keys, sign)),
        "without keys": right(spectra.excluded(table, keys, sign)),
        "only others": right(spectra.restricted(table, others, sign)),
    }


def embedding_share(model: GPT, config: ModularConfig) -> np.ndarray:
    """Return each frequency's share of the token embedding's power, numbers in `order_of`."""
    rows = model.token_embedding.weight.detach()[torch.from_numpy(order_of(config))]
    return spectra.shares(spectra.power(rows.numpy()).sum(-1))


@torch.no_grad()
def neuron_shares(model: GPT, config: ModularConfig) -> list[int]:
    """Return a histogram of the last block's neurons by their share of variance in one frequency.

    It has ten bins from 0 to 1. Neurons that never fire are left out.
    """
    tokens, answers = grid(config)
    activations: list[torch.Tensor] = []
    hook = model.blocks[-1].mlp.down.register_forward_pre_hook(
        lambda _m, x: activations.append(x[0])
    )
    for part in tokens.split(2048):
        model(part, last=1)
    hook.remove()
    table = torch.cat(activations)[:, 0].numpy().reshape(*answers.shape, -1)
    table = table[..., table.any((0, 1))]
    best = spectra.share_by_frequency(table).max(0)
    return np.histogram(best, bins=10, range=(0, 1))[0].tolist()


@torch.no_grad()
def attention(model: GPT, data: Data) -> dict[str, Any]:
    """Return how much the last position of the first block attends to a, b and itself.

    For each head the mean over all pairs, and the standard deviation.
    """
    tokens, _ = grid(data.config)
    weights = attention_maps(model, tokens)[0, :, :, -1]
    std, mean = torch.std_mean(weights, 0)
    return {"mean": mean.tolist(), "std": std.tolist()}


def history(saved: Iterator[tuple[int, GPT]], model: GPT, data: Data) -> dict[str, list[Any]]:
    """Return losses and right answers at each step with saved weights.

    Restricted loss is over all pairs, excluded loss over those trained on (Nanda et al. 2023,
    2301.05217, section 5.1), both with the key frequencies of the finished model.
    """
    config = data.config
    sign, answers, seen = SIGNS[config.operations[0]], grid(config)[1], trained_pairs(data)
    keys = claim(model.cpu(), data)["keys"]
    out: dict[str, list[Any]] = {}
    for step, then in saved:
        table = logit_table(then, config)
        only = spectra.restricted(table, keys, sign)
        without = spectra.excluded(table, keys, sign)
        right = table.argmax(-1) == answers
        row = {
            "step": step,
            "restricted": spectra.loss_and_accuracy(only, answers)[0],
            "excluded": spectra.loss_and_accuracy(without[seen], answers[seen])[0],
            "train": spectra.loss_and_accuracy(table[seen], answers[seen])[0],
            "unseen": spectra.loss_and_accuracy(table[~seen], answers[~seen])[0],
            "gini": spectra.gini(embedding_share(then, config)),
            "right": base64.b64encode(np.packbits(right).tobytes()).decode(),
        }
        for name, value in row.items():
            short = float(f"{value:.4g}") if isinstance(value, float) else value
            out.setdefault(name, []).append(short)
    return out

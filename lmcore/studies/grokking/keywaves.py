"""Do waves of the key frequencies answer pairs that training never saw? A test without a leak.

Waves averaged over all pairs hand an unseen pair the answers of trained pairs with the same a ± b:
a table of what was trained on and noise passes that test. Here frequencies and waves come from
one half of the unseen pairs and are judged on the other half, both ways.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from lmcore.model.gpt import GPT
from lmcore.report.tables import Table
from lmcore.studies.grokking import spectra
from lmcore.studies.grokking.circuits import (
    SIGNS,
    TOGETHER,
    grid,
    logit_table,
    order_of,
    trained_pairs,
)
from lmcore.tasks.modular import ModularConfig
from lmcore.tasks.modular import Table as Data

PLACES = {"embedding": ("embedding",), "head": ("head",), "both": ("embedding", "head")}
"""In which weights frequencies are kept or removed, by the name it is shown under."""
KNOWN_BY_HEART = 10.0
"""How far a lookup table lifts the right answer of a trained pair above noise of deviation 1."""


@dataclass(frozen=True, eq=False)
class Fit:
    """What some pairs say of the logits as a function of a ± b: key frequencies and waves."""

    means: Float[np.ndarray, "n classes"]
    counts: Int[np.ndarray, "n"]

    @classmethod
    def of(
        cls,
        table: Float[np.ndarray, "n n classes"],
        pairs: Bool[np.ndarray, "n n"],
        sign: spectra.Sign,
    ) -> "Fit":
        """Return the mean logits of these pairs at each a + sign · b; where there are none, 0."""
        at, n = sums(len(table), sign), len(table)
        counts = np.bincount(at[pairs], minlength=n)
        totals = np.zeros((n, table.shape[-1]))
        np.add.at(totals, at[pairs], table[pairs])
        return cls(totals / np.maximum(counts, 1)[:, None], counts)

    def ranked(self) -> tuple[list[int], list[int]]:
        """Return the key frequencies and as many of the strongest others.

        Key are the fewest that have TOGETHER of the power of all waves; without any there are none.
        """
        share = spectra.shares(spectra.power(self.means).sum(-1))
        keys = spectra.key_frequencies(share, TOGETHER) if share.any() else []
        others = [k for k in (np.argsort(-share) + 1).tolist() if k not in keys]
        return keys, others[: len(keys)]

    def coefficients(
        self, frequencies: Sequence[int]
    ) -> tuple[Float[np.ndarray, "n columns"], Float[np.ndarray, "columns classes"]]:
        """Return a constant and the waves, as columns over a ± b, and what each adds to the logits.

        They are fitted together by least squares, each pair counting once.
        """
        n = len(self.means)
        angles = 2 * np.pi * np.outer(np.arange(n), frequencies) / n
        columns = np.hstack([np.ones((n, 1)), np.cos(angles), np.sin(angles)])
        weight = np.sqrt(self.counts)[:, None]
        amplitudes, *_ = np.linalg.lstsq(weight * columns, weight * self.means, rcond=1e-9)
        return columns, amplitudes

    def waves(self, frequencies: Sequence[int]) -> Float[np.ndarray, "n classes"]:
        """Return the waves of these frequencies, without the constant, at each a ± b."""
        columns, amplitudes = self.coefficients(frequencies)
        return columns[:, 1:] @ amplitudes[1:]

    def directions(self, frequencies: Sequence[int]) -> Float[np.ndarray, "some classes"]:
        """Return orthonormal directions that span what waves of these frequencies add to logits."""
        _, amplitudes = self.coefficients(frequencies)
        _, sizes, directions = np.linalg.svd(amplitudes[1:], full_matrices=False)
        return directions[sizes > 1e-9 * max(sizes.max(initial=0), 1e-300)]


def sums(n: int, sign: spectra.Sign) -> Int[np.ndarray, "n n"]:
    """Return a + sign · b mod n for all a and b."""
    a, b = np.ogrid[:n, :n]
    return (a + sign * b) % n


def share_right(
    logits: Float[np.ndarray, "n n classes"],
    answers: Int[np.ndarray, "n n"],
    pairs: Bool[np.ndarray, "n n"],
) -> float:
    """Return the share of these pairs whose likeliest answer is right."""
    return float((logits[pairs].argmax(-1) == answers[pairs]).mean())


def judged(
    table: Float[np.ndarray, "n n classes"],
    answers: Int[np.ndarray, "n n"],
    fitted_on: Bool[np.ndarray, "n n"],
    judged_on: Bool[np.ndarray, "n n"],
    sign: spectra.Sign,
) -> dict[str, float]:
    """Return what becomes of the answers to some pairs with key waves fitted on other pairs.

    "only keys" answers by the fitted waves alone, which are means over pairs and so may know more
    than the logits of any one pair. "projected" keeps of each pair's own logits what lies in the
    directions of those waves, and averages nothing.
    """
    fit = Fit.of(table, fitted_on, sign)
    (keys, others), at = fit.ranked(), sums(len(table), sign)
    waves, mean = fit.waves(keys)[at], table[fitted_on].mean(0)
    directions = fit.directions(keys)
    projected = (table - mean) @ directions.T @ directions
    versions = {
        "whole": table,
        "only keys": mean + waves,
        "without keys": table - waves,
        "only others": mean + fit.waves(others)[at],
        "projected": mean + projected,
        "projected out": table - projected,
    }
    return {name: share_right(logits, answers, judged_on) for name, logits in versions.items()}


def both_ways(
    table: Float[np.ndarray, "n n classes"],
    answers: Int[np.ndarray, "n n"],
    halves: tuple[Bool[np.ndarray, "n n"], Bool[np.ndarray, "n n"]],
    sign: spectra.Sign,
) -> dict[str, float]:
    """Return `judged` of each half with waves of the other, and the mean of both."""
    first, second = (
        judged(table, answers, *pair, sign) for pair in (halves, (halves[1], halves[0]))
    )
    return {name: (first[name] + second[name]) / 2 for name in first}


def leaking(
    table: Float[np.ndarray, "n n classes"],
    answers: Int[np.ndarray, "n n"],
    seen: Bool[np.ndarray, "n n"],
    sign: spectra.Sign,
) -> tuple[list[int], float]:
    """Return key frequencies and what they have right of unseen pairs, averaged over all pairs.

    Trained pairs are among those averaged over: this is the leak, kept to show what it does.
    """
    keys, _ = Fit.of(table, np.ones_like(seen), sign).ranked()
    return keys, share_right(spectra.restricted(table, keys, sign), answers, ~seen)


def unseen_halves(data: Data) -> tuple[Bool[np.ndarray, "n n"], Bool[np.ndarray, "n n"]]:
    """Return for every pair of `grid` whether it is one of validation, and one of the test."""
    return tuple(trained_pairs(replace(data, train=part)) for part in (data.validation, data.test))


@torch.no_grad()
def ablated(model: GPT, config: ModularConfig, keys: Sequence[int], place: str, keep: bool) -> GPT:
    """Return a copy of model with only these frequencies in the weights at place, or without them.

    Rows of numbers are filtered in the order of `order_of`. Their mean stays either way, and so do
    rows of what is not in that order: the operation's and, for logarithms, zero's.
    """
    out, order = copy.deepcopy(model), torch.from_numpy(order_of(config))
    weights = {"embedding": out.token_embedding.weight, "head": out.head.weight}
    for name in PLACES[place]:
        spectrum = torch.fft.rfft(weights[name][order].double(), dim=0)
        is_key = torch.zeros(len(spectrum), dtype=torch.bool)
        is_key[list(keys)] = True
        spectrum[~is_key if keep else is_key] = 0
        if keep:
            spectrum[0] = weights[name][order].double().sum(0)
        weights[name][order] = torch.fft.irfft(spectrum, n=len(order), dim=0).float()
    return out


def probe(model: GPT, data: Data) -> dict[str, Any]:
    """Return the test without a leak, in logits and in weights, of all pairs training did not see.

    Each half of those, validation and test, is judged with frequencies and waves of the other one;
    shares of right answers are means of both ways.
    """
    config, halves = data.config, unseen_halves(data)
    sign, answers, table = SIGNS[config.operations[0]], grid(config)[1], logit_table(model, config)
    keys = [Fit.of(table, half, sign).ranked()[0] for half in halves]

    def right(place: str, keep: bool) -> float:
        logits = [logit_table(ablated(model, config, own, place, keep), config) for own in keys]
        shares = map(share_right, logits, [answers, answers], halves[::-1])
        return sum(shares) / len(halves)

    return {
        "keys": keys,
        **both_ways(table, answers, halves, sign),
        **{
            f"{place} {name}": right(place, keep)
            for place in PLACES
            for name, keep in (("only keys", True), ("without keys", False))
        },
    }


def history(kept: Iterator[tuple[int, GPT]], model: GPT, data: Data) -> dict[str, list[Any]]:
    """Return, for each step whose weights were kept, how far waves answered unseen pairs.

    Frequencies are the key ones of the finished model on either half, waves are of the weights at
    that step; loss and shares of right answers are means of both ways, as in `both_ways`.
    """
    config, halves = data.config, unseen_halves(data)
    sign, answers = SIGNS[config.operations[0]], grid(config)[1]
    finished = logit_table(model.cpu(), config)
    keys = [Fit.of(finished, half, sign).ranked()[0] for half in halves]
    out: dict[str, list[Any]] = {"step": [], "loss": [], "only keys": [], "whole": []}
    for step, then in kept:
        table, by_half = logit_table(then, config), []
        for fitted_on, judged_on, half_keys in zip(halves, halves[::-1], keys, strict=True):
            waves = Fit.of(table, fitted_on, sign).waves(half_keys)[sums(len(table), sign)]
            logits = (table[fitted_on].mean(0) + waves)[judged_on]
            scored = spectra.loss_and_accuracy(logits, answers[judged_on])
            by_half.append((*scored, share_right(table, answers, judged_on)))
        means = np.mean(by_half, axis=0)
        for name, value in zip(out, (step, *means.tolist()), strict=True):
            out[name].append(value if name == "step" else float(f"{value:.4g}"))
    return out


def lookup_tables(
    config: ModularConfig, shares: Sequence[float]
) -> Iterator[tuple[Data, Float[np.ndarray, "n n classes"]]]:
    """Yield the sets of each share of the table, with a lookup table's logits.

    The right answer of a training pair is KNOWN_BY_HEART above the noise; everything else is noise.
    """
    for share in shares:
        data = replace(config, train_fraction=share).prepare()
        answers = grid(data.config)[1]
        logits = np.random.default_rng(config.seed).normal(size=(*answers.shape, config.p))
        a, b = np.nonzero(trained_pairs(data))
        logits[a, b, answers[a, b]] += KNOWN_BY_HEART
        yield data, logits - logits.mean(-1, keepdims=True)


def lookup_table(config: ModularConfig, shares: Sequence[float] = (0.2, 0.3, 0.4, 0.5)) -> Table:
    """Return the result of both tests on a lookup table, a row for each share that it knows."""
    rows, sign = [], SIGNS[config.operations[0]]
    for data, logits in lookup_tables(config, shares):
        answers, halves = grid(data.config)[1], unseen_halves(data)
        keys, with_leak = leaking(logits, answers, trained_pairs(data), sign)
        without_leak = both_ways(logits, answers, halves, sign)
        rows.append(
            (
                f"{data.config.train_fraction:.0%}",
                str(len(keys)),
                *(f"{x:.1%}" for x in (without_leak["whole"], with_leak)),
                *(f"{without_leak[name]:.1%}" for name in ("only keys", "projected")),
            )
        )
    header = (
        "known by heart", "key frequencies", "whole", "only keys, with the leak",
        "only keys, without it", "projected, without it",
    )  # fmt: skip
    return Table(header, tuple(rows))

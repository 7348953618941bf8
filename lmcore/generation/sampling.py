"""How the next token is drawn from logits."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn from logits; temperature 0 is greedy, the likeliest each time.

    In this order, which is that of transformers: logits of tokens seen before are lowered by the
    penalty (Keskar et al. 2019, 1909.05858) and all are divided by the temperature; then stay the
    top_k likeliest (Fan et al. 2018, 1805.04833), of these the fewest that have top_p of the
    probability (Holtzman et al. 2020, 1904.09751), and of these the ones at least min_p times as
    probable as the likeliest (Nguyen et al. 2024, 2407.01082).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self):
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0, which is greedy, or more: {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k {self.top_k} leaves no token: take 1 or more, or None")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is a share above 0 and up to 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p is a share from 0 to 1, not {self.min_p}")
        if not 0 < self.repetition_penalty < math.inf:
            raise ValueError(f"repetition_penalty must be above 0, not {self.repetition_penalty}")

    def penalised(
        self, logits: Float[Tensor, "rows vocab"], seen: Bool[Tensor, "rows vocab"] | None
    ) -> Float[Tensor, "rows vocab"]:
        """Return logits in float32, those of seen tokens lowered."""
        logits, penalty = logits.float(), self.repetition_penalty
        if seen is None or penalty == 1:
            return logits
        return torch.where(
            seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits
        )

    def weights(
        self, logits: Float[Tensor, "rows vocab"], seen: Bool[Tensor, "rows vocab"] | None = None
    ) -> Float[Tensor, "rows vocab"]:
        """Return numbers in proportion to the probabilities that tokens are drawn with."""
        logits = self.penalised(logits, seen)
        if self.temperature == 0:
            return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        if self.temperature != 1:  # from the top down, so that no quotient is infinite
            logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        weights = logits.softmax(-1)
        if self.top_p < 1:
            weights = nucleus(weights, self.top_p)
        if self.min_p > 0:
            least = self.min_p * weights.amax(-1, keepdim=True)
            weights = weights.masked_fill(weights < least, 0)
        return weights

    def probabilities(
        self, logits: Float[Tensor, "rows vocab"], seen: Bool[Tensor, "rows vocab"] | None = None
    ) -> Float[Tensor, "rows vocab"]:
        """Return the probabilities that tokens are drawn with."""
        weights = self.weights(logits, seen)
        return weights / weights.sum(-1, keepdim=True)

    def draw(
        self,
        logits: Float[Tensor, "rows vocab"],
        uniforms: Float[Tensor, "rows"],
        seen: Bool[Tensor, "rows vocab"] | None = None,
    ) -> Int[Tensor, "rows"]:
        """Return for each row the id up to which the probabilities first exceed its uniform number.

        Sums are taken in float64: in float32 their rounding could give a token of probability 0.
        """
        if self.temperature == 0:
            return self.penalised(logits, seen).argmax(-1)
        reached = self.weights(logits, seen).cumsum(-1, dtype=torch.float64)
        aims = uniforms * reached[:, -1]
        return torch.searchsorted(reached, aims[:, None], right=True)[:, 0]


PREDICTED = Sampling()
"""Tokens are drawn with the model's own probabilities."""


def nucleus(
    weights: Float[Tensor, "rows vocab"], top_p: float, in_order: bool = False
) -> Float[Tensor, "rows vocab"]:
    """Return weights with zeros but for the fewest that together have top_p of their row's sum.

    Putting all in_order is slow, so only rows are for which a 64th of the vocabulary, up to which
    torch's top-k is cheap on a CPU, does not suffice.
    """
    vocab_size = weights.shape[-1]
    aims = top_p * weights.sum(-1, keepdim=True, dtype=torch.float64)
    few = max(1, vocab_size // 64)
    best, ids = weights.sort(-1, descending=True) if in_order else weights.topk(few)
    reached = best.cumsum(-1, dtype=torch.float64)
    kept = torch.zeros_like(weights).scatter(-1, ids, best.masked_fill(reached - best >= aims, 0))
    if not in_order and (is_short := reached[:, -1] < aims[:, 0]).any():
        rows = is_short.nonzero()[:, 0]
        kept[rows] = nucleus(weights[rows], top_p, in_order=True)
    return kept


def uniform_numbers(n: int, seed: int) -> Float[Tensor, "n"]:
    """Return n numbers from [0, 1), the first of as many as one likes from seed."""
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

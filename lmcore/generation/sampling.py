"""How the next token is drawn from logits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmcore.boundary import convert_fields

DRAWN_AT_ONCE = 256
"""Uniform numbers that are drawn for a row at a time."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn from logits.

    The fields apply in this order, which is that of transformers: repetition_penalty, temperature,
    top_k, top_p, min_p.
    """

    temperature: float = 1.0
    """Logits are divided by it; 0 is greedy, which takes the most probable token."""

    top_k: int | None = None
    """Only the k most probable tokens remain (Fan et al. 2018, 1805.04833); None keeps all."""

    top_p: float = 1.0
    """Only the fewest tokens remain that have this share of the probability (Holtzman et al. 2020,
    1904.09751)."""

    min_p: float = 0.0
    """Only tokens remain that are at least this many times as probable as the most probable one
    (Nguyen et al. 2024, 2407.01082)."""

    repetition_penalty: float = 1.0
    """Logits of tokens seen before are divided by it where positive, multiplied where negative
    (Keskar et al. 2019, 1909.05858)."""

    def __post_init__(self):
        convert_fields(self)
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
        """Return logits in float32, with the penalty on tokens seen before."""
        logits, penalty = logits.float(), self.repetition_penalty
        if seen is None or penalty == 1:
            return logits
        return torch.where(
            seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits
        )

    def weights(
        self, logits: Float[Tensor, "rows vocab"], seen: Bool[Tensor, "rows vocab"] | None = None
    ) -> Float[Tensor, "rows vocab"]:
        """Return numbers proportional to the probabilities that tokens are drawn with."""
        logits = self.penalised(logits, seen)
        if self.temperature == 0:
            return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        if self.temperature != 1:  # the largest logit becomes 0, so that no quotient overflows
            logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            lowest = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < lowest, -torch.inf)
        weights = logits.softmax(-1)
        if self.top_p < 1:
            weights = nucleus(weights, self.top_p)
        if self.min_p > 0:
            lowest = self.min_p * weights.amax(-1, keepdim=True)
            weights = weights.masked_fill(weights < lowest, 0)
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
        """Return for each row the first id whose cumulative probability exceeds its uniform number.

        Sums are in float64: float32 rounding could select a token of probability 0.
        """
        if self.temperature == 0:
            return self.penalised(logits, seen).argmax(-1)
        cumulative = self.weights(logits, seen).cumsum(-1, dtype=torch.float64)
        targets = uniforms * cumulative[:, -1]
        return torch.searchsorted(cumulative, targets[:, None], right=True)[:, 0]


DEFAULT_SAMPLING = Sampling()
"""Tokens are drawn with the model's own probabilities."""


def nucleus(
    weights: Float[Tensor, "rows vocab"], top_p: float, sort_all: bool = False
) -> Float[Tensor, "rows vocab"]:
    """Return weights with zeros except for the fewest that make up top_p of their row's sum.

    Sorting the whole vocabulary is slow. So a top-k of a 64th of it, which is cheap on a CPU, comes
    first, and only rows for which that is not enough are sorted.
    """
    vocab_size = weights.shape[-1]
    targets = top_p * weights.sum(-1, keepdim=True, dtype=torch.float64)
    n_top = max(1, vocab_size // 64)
    top, ids = weights.sort(-1, descending=True) if sort_all else weights.topk(n_top)
    cumulative = top.cumsum(-1, dtype=torch.float64)
    remaining = top.masked_fill(cumulative - top >= targets, 0)
    out = torch.zeros_like(weights).scatter(-1, ids, remaining)
    if not sort_all and (is_short := cumulative[:, -1] < targets[:, 0]).any():
        rows = is_short.nonzero()[:, 0]
        out[rows] = nucleus(weights[rows], top_p, sort_all=True)
    return out


def drawing_device(device: torch.device) -> torch.device:
    """Return where tokens of a model on device are drawn: a Mac's GPU has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


class UniformNumbers:
    """Numbers from [0, 1) for each seed, drawn when they are needed.

    A seed's numbers depend on nothing else: neither on the other seeds nor on how many are drawn.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device):
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.device, self.n_used = drawing_device(device), 0
        self.drawn = torch.empty(len(seeds), 0, dtype=torch.float64, device=self.device)

    def next(self) -> Float[Tensor, "rows"]:
        """Return the next number of each seed."""
        if self.n_used == self.drawn.shape[1]:
            rows = [
                torch.rand(DRAWN_AT_ONCE, generator=generator, dtype=torch.float64)
                for generator in self.generators
            ]
            self.drawn, self.n_used = torch.stack(rows).to(self.device), 0
        self.n_used += 1
        return self.drawn[:, self.n_used - 1]

    def select_rows(self, numbers: list[int]) -> None:
        """Drop all seeds except these, which are renumbered in this order."""
        self.generators = [self.generators[number] for number in numbers]
        self.drawn = self.drawn[numbers]

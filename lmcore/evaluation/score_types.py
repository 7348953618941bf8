"""What a score is made of: sums over tokens or answers, and every rate that follows from them.

No torch here, so that tables and plots load fast.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Score:
    """Sums over scored tokens, from which every rate follows.

    n_tokens of the text's of_tokens were scored: all of them by `score`, fewer by
    `challenge_score`.
    """

    nats: float
    n_tokens: int
    of_tokens: int
    characters: int
    bytes: int
    n_correct: int
    n_end_predicted: int
    n_end: int

    @property
    def loss(self) -> float:
        """Nats per token, which cannot be compared across tokenizers."""
        return self.nats / self.n_tokens

    @property
    def perplexity(self) -> float:
        """exp(loss): how many equally probable tokens would be as hard to predict."""
        return math.exp(self.loss)

    @property
    def nats_per_character(self) -> float:
        """Nats over the characters of the whole text, in which <eos> counts as five."""
        return self.nats / self.characters

    @property
    def bpb(self) -> float:
        """Bits over the UTF-8 bytes of the whole text."""
        return self.nats / self.bytes / math.log(2)

    @property
    def coverage(self) -> float:
        """The share of the text's tokens that were scored."""
        return self.n_tokens / self.of_tokens

    @property
    def accuracy(self) -> float:
        """The share of scored tokens to which the model gave the highest probability."""
        return self.n_correct / self.n_tokens

    @property
    def end_share(self) -> float:
        """The share of scored tokens that are <eos>."""
        return self.n_end / self.n_tokens

    @property
    def end_predicted_share(self) -> float:
        """The share of scored tokens in whose place <eos> had the highest probability."""
        return self.n_end_predicted / self.n_tokens

    def __str__(self) -> str:
        return f"{self.nats_per_character:.3f} nats/character"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Sums over answers; logit_rms is the root mean square of their centred logits."""

    nats: float
    n: int
    n_correct: int
    logit_rms: float

    @property
    def loss(self) -> float:
        """Nats per answer."""
        return self.nats / self.n

    @property
    def accuracy(self) -> float:
        """The share of answers to which the model gave the highest probability."""
        return self.n_correct / self.n

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} right"


FIELDS = {kind: {field.name for field in dataclasses.fields(kind)} for kind in (Score, Answers)}


def read_score(stored: Any) -> Any:
    """Return stored as a Score or Answers if it has exactly their fields, else as it is."""
    if isinstance(stored, dict):
        for kind, names in FIELDS.items():
            if stored.keys() == names:
                return kind(**stored)
    return stored

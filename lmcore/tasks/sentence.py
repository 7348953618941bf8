"""One sentence, character by character, to be memorised: the smallest test of training."""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lmcore.boundary import convert_fields
from lmcore.evaluation.scores import Answers, Score, answer_score
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Batch


@dataclass(frozen=True, kw_only=True)
class SentenceConfig:
    """The sentence to memorise."""

    sentence: str
    """At least two characters; the distinct ones, sorted, are the vocabulary."""

    def __post_init__(self):
        convert_fields(self)
        if len(self.sentence) < 2:
            raise ValueError(f"sentence {self.sentence!r} is shorter than two characters")

    @property
    def vocab_size(self) -> int:
        """Distinct characters."""
        return len(self.characters)

    @property
    def characters(self) -> list[str]:
        """The characters by id."""
        return sorted(set(self.sentence))

    def ids(self, text: str) -> list[int]:
        """Return the ids of text's characters, which must all be in the sentence."""
        return [self.characters.index(character) for character in text]

    def prepare(
        self, cache: Path | None = None, data: Path | None = None, progress: bool = False
    ) -> "Sentence":
        """Return the sentence as data; cache, data and progress are not used."""
        return Sentence(self)

    def small(self) -> tuple["SentenceConfig", dict[str, Any], dict[str, Any]]:
        """Return the small version, and the changes to the model and the training plan."""
        return self, {}, {"steps": 24, "eval_at": (1, 4), "eval_every": 8}


@dataclass(frozen=True, eq=False)
class Sentence:
    """A sentence to train on, which is also the validation and the test set."""

    config: SentenceConfig

    @property
    def origin(self) -> dict[str, Any]:
        """What a run's environment.json says of the data."""
        text = self.config.sentence
        return {"sentence": text, "text_sha256": hashlib.sha256(text.encode()).hexdigest()}

    def windows(self, context_length: int) -> tuple[Tensor, Tensor]:
        """Return all windows of context_length characters, and the same one character later."""
        ids = torch.tensor(self.config.ids(self.config.sentence))
        if len(ids) <= context_length:
            raise ValueError(
                f"{self.config.sentence!r} has no window of {context_length} characters and a next "
                "one: lower context_length"
            )
        rows = ids.unfold(0, context_length + 1, 1)
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()

    def floor(self, context_length: int) -> float:
        """Return the lowest possible loss on the windows, in nats per character.

        It is above zero if windows with the same beginning continue differently.
        """
        steps: list[tuple[tuple[int, ...], int]] = [
            (tuple(x[: i + 1]), y[i])
            for x, y in zip(*(part.tolist() for part in self.windows(context_length)), strict=True)
            for i in range(context_length)
        ]
        pairs, beginnings = Counter(steps), Counter(beginning for beginning, _ in steps)
        return -sum(n * math.log(n / beginnings[b]) for (b, _), n in pairs.items()) / len(steps)

    def source(
        self,
        *,
        batch_size: int,
        context_length: int,
        order: str,
        seed: int,
    ) -> "SentenceTask":
        """Return the task of a run with these numbers, which draws windows with replacement.

        Raises:
            ValueError: the order is not "uniform", or the sentence is shorter than the context.
        """
        if order != "uniform":
            raise ValueError(f"a sentence is read in order 'uniform', not {order!r}")
        return SentenceTask(*self.windows(context_length), batch_size, seed)

    def test_scores(self, model: GPT) -> dict[str, Score | Answers]:
        """Return the score of all windows."""
        return {"test": answer_score(model, *self.windows(model.config.context_length))}


@dataclass(frozen=True, eq=False)
class SentenceTask:
    """Windows of a sentence, drawn uniformly with replacement."""

    x: Int[Tensor, "windows seq"]
    y: Int[Tensor, "windows seq"]
    batch_size: int
    seed: int
    batches_per_epoch: int | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the batches."""
        windows = hashlib.sha256(self.x.numpy().data).hexdigest()
        return {"order": "uniform", "seed": self.seed, "windows": windows}

    def batch(self, number: int) -> Batch:
        """Return the batch of this number."""
        rng = np.random.default_rng([self.seed, number])
        drawn = torch.from_numpy(rng.integers(len(self.x), size=self.batch_size))
        return Batch(self.x[drawn], self.y[drawn])

    def scores(self, model: GPT) -> dict[str, Score | Answers]:
        """Return the score of all windows."""
        return {"validation": answer_score(model, self.x, self.y)}

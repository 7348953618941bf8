"""What a model learns from and is judged by: batches by number, scores on fixed tokens."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from lmcore.evaluate import Score, challenge_score, score
from lmcore.model import GPT
from lmcore.tokens import Batches, Tokens, to_device


class Batch(NamedTuple):
    """Inputs, their targets one token later, and where attention is to stay within documents,
    the number of each token's document.
    """

    x: Int[Tensor, "batch seq"]
    y: Int[Tensor, "batch seq"]
    documents: Int[Tensor, "batch seq"] | None = None

    def part(self, number: int, parts: int) -> "Batch":
        """Return every parts-th row from the one of this number on."""
        return Batch(*(None if each is None else each[number::parts] for each in self))

    def to(self, device: str) -> "Batch":
        """Return the batch on device."""
        return Batch(*to_device([each for each in self if each is not None], device))


@runtime_checkable
class Source(Protocol):
    """All that the training loop asks of data. A batch is a pure function of its number, so the
    number of the step is all that an exact resume needs.
    """

    @property
    def batches_per_epoch(self) -> int | None:
        """How many batches read everything once, where that can be said."""
        ...

    def batch(self, number: int) -> Batch:
        """Return the batch of this number, counted from 0 and without end."""
        ...

    def scores(self, model: GPT) -> dict[str, Score]:
        """Return the model's scores by name; `validation` selects."""
        ...


@dataclass(frozen=True, eq=False, kw_only=True)
class TextSource:
    """Batches of tokens, and validation tokens scored by the house metric and the challenge's."""

    batches: Batches
    validation: Tokens
    end_id: int
    within_documents: bool = False

    @property
    def batches_per_epoch(self) -> int | None:
        """How many whole batches the tokens fill; none are counted if drawn with replacement."""
        return self.batches.steps_per_epoch

    def batch(self, number: int) -> Batch:
        """Return the batch of this number in the order that batches has."""
        documents = self.batches.documents(number) if self.within_documents else None
        return Batch(*self.batches.batch(number), documents)

    def scores(self, model: GPT) -> dict[str, Score]:
        """Return both scores of the validation tokens, each of them scored once."""
        rows = self.batches.batch_size
        return {
            "validation": score(model, self.validation, self.end_id),
            "challenge": challenge_score(model, self.validation, self.end_id, rows),
        }

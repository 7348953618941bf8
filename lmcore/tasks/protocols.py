"""What the training loop asks of data: batches by number, scores on fixed sets."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from lmcore.data.batches import to_device
from lmcore.evaluation.scores import Answers, Score
from lmcore.model.gpt import GPT


class Batch(NamedTuple):
    """Inputs, the targets of their last positions or of all, and where attention is to stay
    within documents, the number of each token's document.
    """

    x: Int[Tensor, "batch seq"]
    y: Int[Tensor, "batch targets"]
    documents: Int[Tensor, "batch seq"] | None = None

    def part(self, number: int, parts: int) -> "Batch":
        """Return every parts-th row from the one of this number on."""
        return Batch(*(None if each is None else each[number::parts] for each in self))

    def to(self, device: str) -> "Batch":
        """Return the batch on device."""
        return Batch(*to_device([each for each in self if each is not None], device))


@runtime_checkable
class Task(Protocol):
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

    def scores(self, model: GPT) -> dict[str, Score | Answers]:
        """Return the model's scores by name; `validation` selects."""
        ...


@runtime_checkable
class Data(Protocol):
    """Data made ready to be learned from. An experiment's corpus config makes it by `prepare`, and
    says by `small` what its small version is and what of model and plan shrinks with it.
    """

    @property
    def origin(self) -> dict[str, Any]:
        """What a run's environment keeps; `text_sha256` is a hash of all of it."""
        ...

    def source(
        self,
        *,
        batch_size: int,
        context_length: int,
        order: str,
        seed: int,
    ) -> Task:
        """Return what a run with these numbers learns from."""
        ...

    def test_scores(self, model: GPT) -> dict[str, Score | Answers]:
        """Return the scores that are taken once, of the finished model; one is `test`."""
        ...

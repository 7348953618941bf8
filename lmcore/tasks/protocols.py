"""What the training loop needs from data: batches by number, scores on fixed sets."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor, nn

from lmcore.data.batches import to_device
from lmcore.evaluation.scores import Answers, Score


class Batch(NamedTuple):
    """Inputs, targets of all their positions or of the last ones, and for attention within
    documents the number of each token's document. A target of -100 is ignored.
    """

    x: Int[Tensor, "batch seq"]
    y: Int[Tensor, "batch targets"]
    documents: Int[Tensor, "batch seq"] | None = None

    def part(self, number: int, parts: int) -> "Batch":
        """Return every parts-th row, beginning with the row of this number."""
        rows = slice(number, None, parts)
        documents = None if self.documents is None else self.documents[rows]
        return Batch(self.x[rows], self.y[rows], documents)

    def to(self, device: str) -> "Batch":
        """Return the batch on device."""
        return Batch(*to_device([tensor for tensor in self if tensor is not None], device))


@runtime_checkable
class Task(Protocol):
    """Data as the training loop sees it. A batch depends on its number alone, so that the step is
    all that an exact resume needs.
    """

    @property
    def batches_per_epoch(self) -> int | None:
        """Batches that go through all the data once; None where there is no such number."""
        ...

    def batch(self, number: int) -> Batch:
        """Return the batch of this number, counted from 0, without an upper limit."""
        ...

    def scores(self, model: nn.Module) -> dict[str, Score | Answers]:
        """Return the model's scores by name; early stopping follows `validation` by default."""
        ...


def facts_of(task: Task) -> dict[str, Any]:
    """Return by name what decides a task's batches, so that a run resumes on the same ones.

    A task says so in an optional property `facts`, of plain values; one without it is not checked.
    """
    return dict(getattr(task, "facts", {}))


@runtime_checkable
class Data(Protocol):
    """Prepared data. An experiment's task config returns it from `prepare`; its `small` returns the
    config of the small version and the changes to the model and the training plan.
    """

    @property
    def origin(self) -> dict[str, Any]:
        """What a run's environment.json says of the data; `text_sha256` is a hash of all of it."""
        ...

    def source(
        self,
        *,
        batch_size: int,
        context_length: int,
        order: str,
        seed: int,
    ) -> Task:
        """Return the task of a run with these numbers."""
        ...

    def test_scores(self, model: nn.Module) -> dict[str, Score | Answers]:
        """Return the scores of the finished model on the test set, one of them called `test`."""
        ...

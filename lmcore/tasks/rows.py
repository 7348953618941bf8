"""Rows of inputs and targets as a task: the user's own ids, Dataset or DataLoader."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from lmcore.boundary import convert_fields
from lmcore.data.batches import Batches, InputsTargets
from lmcore.data.datasets import DatasetBatches, IterableBatches
from lmcore.evaluation.scores import Answers, Score, answer_score
from lmcore.tasks.protocols import Batch


@dataclass(frozen=True, eq=False, kw_only=True)
class RowsTask:
    """Batches to learn from, and validation rows (x, y) whose every target is scored."""

    batches: Batches | DatasetBatches | IterableBatches
    validation: InputsTargets

    def __post_init__(self):
        convert_fields(self)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the batches; nothing is known of an iterable's."""
        return {} if isinstance(self.batches, IterableBatches) else self.batches.facts

    @property
    def batches_per_epoch(self) -> int | None:
        """Batches of an epoch, or None if they are drawn with replacement or not counted."""
        return self.batches.steps_per_epoch

    def batch(self, number: int) -> Batch:
        """Return the batch of this number."""
        return Batch(*self.batches.batch(number))

    def scores(self, model: nn.Module) -> dict[str, Score | Answers]:
        """Return the score of the validation rows."""
        return {"validation": answer_score(model, *self.validation)}

"""What is known after a step, read from the device once it is due."""

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor

from lmcore.evaluation.scores import Answers, Score


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known after a step: the loss of its batch before it, and where due, scores, the L2
    norm of all weights, and how far each group of them went in this step, as a share of its norm.

    The last record of a run that ended before its planned length says why.
    """

    step: int
    tokens: int
    elapsed_s: float
    lr: float | None = None
    loss: float | None = None
    grad_norm: float | None = None
    weight_norm: float | None = None
    update_ratios: dict[str, float] | None = None
    scores: dict[str, Score | Answers] = field(default_factory=dict)
    stop_reason: str | None = None


class DivergedError(ArithmeticError):
    """The loss stopped being a number."""


class Pending:
    """Steps whose numbers are still on the device, and the clock of training alone."""

    def __init__(self, tokens_per_step: int, elapsed_s: float):
        self.tokens_per_step, self.elapsed_s = tokens_per_step, elapsed_s
        self.steps: list[tuple[int, Tensor, Tensor, float]] = []
        self.started = time.monotonic()

    def read(self) -> list[Record]:
        """Return the records of the steps since the last reading, once the device is done."""
        read = [(step, loss.item(), norm.item(), lr) for step, loss, norm, lr in self.steps]
        took = time.monotonic() - self.started
        records = [
            Record(
                step=step,
                tokens=step * self.tokens_per_step,
                elapsed_s=self.elapsed_s + took * number / len(read),
                lr=lr,
                loss=loss,
                grad_norm=norm,
            )
            for number, (step, loss, norm, lr) in enumerate(read, 1)
        ]
        self.elapsed_s, self.steps = self.elapsed_s + took, []
        return records


def finite(record: Record) -> Iterator[Record]:
    """Yield record; if a number in it is none, without its numbers and with what is wrong.

    Raises:
        DivergedError: a number in it is none.
    """
    values = {"loss": record.loss, "gradient's norm": record.grad_norm}
    values |= {f"{name} loss": found.nats for name, found in record.scores.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            said = f"the {name} is {value} at step {record.step} (lr {record.lr:.3g})"
            yield dataclasses.replace(
                record,
                loss=None,
                grad_norm=None,
                weight_norm=None,
                update_ratios=None,
                scores={},
                stop_reason=f"diverged: {said}",
            )
            raise DivergedError(f"{said}: lower lr or clip")
    yield record


def recorded(records: Iterator[Record], every: int) -> Iterator[Record]:
    """Pass on the records that are due, scored, or the last of their run."""
    for record in records:
        if record.step % every == 0 or record.scores or record.stop_reason:
            yield record

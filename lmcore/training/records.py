"""What is known after a step, read from the device once a record is due."""

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

from lmcore.evaluation.scores import Answers, Score


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known after a step."""

    step: int
    """Optimizer steps so far."""
    tokens: int
    """Tokens trained on so far."""
    elapsed_s: float
    """Seconds of training so far, without compilation and evaluation."""
    lr: float | None = None
    """Learning rate of the step, that of the first group if there are several."""
    loss: float | None = None
    """Loss of the step's batch, in nats per target, before the step."""
    grad_norm: float | None = None
    """L2 norm of the gradient, before clipping."""
    weight_norm: float | None = None
    """L2 norm of all weights. None where nothing was evaluated."""
    update_ratios: dict[str, float] | None = None
    """Length of the step over the norm of the weights, by group. None where nothing was
    evaluated.
    """
    scores: dict[str, Score | Answers] = field(default_factory=dict)
    """Scores of the task by name, where they were due."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics of the user by name, where scores were due."""
    stop_reason: str | None = None
    """Why the run ended here, before its planned length."""

    @property
    def is_evaluated(self) -> bool:
        """Whether scores and metrics were due."""
        return self.weight_norm is not None


class DivergedError(ArithmeticError):
    """A loss or gradient is not finite."""


class MetricBuffer:
    """The numbers of steps that are still on the device, and the clock of training alone."""

    def __init__(self, tokens_per_step: int, elapsed_s: float):
        self.tokens_per_step, self.elapsed_s = tokens_per_step, elapsed_s
        self.steps: list[tuple[int, Tensor, Tensor, float]] = []
        self.started = time.monotonic()

    def __len__(self) -> int:
        return len(self.steps)

    def start_clock(self) -> None:
        """Count the time from now on as training."""
        self.started = time.monotonic()

    def add(self, step: int, loss: Tensor, grad_norm: Tensor, lr: float) -> None:
        """Keep the numbers of a step without waiting for the device."""
        self.steps.append((step, loss, grad_norm, lr))

    def read(self) -> list[Record]:
        """Return the records of the steps since the last reading; this waits for the device."""
        rows = [(step, loss.item(), norm.item(), lr) for step, loss, norm, lr in self.steps]
        interval_s = time.monotonic() - self.started
        records = [
            Record(
                step=step,
                tokens=step * self.tokens_per_step,
                elapsed_s=self.elapsed_s + interval_s * number / len(rows),
                lr=lr,
                loss=loss,
                grad_norm=norm,
            )
            for number, (step, loss, norm, lr) in enumerate(rows, 1)
        ]
        self.elapsed_s, self.steps = self.elapsed_s + interval_s, []
        return records


def due_records(records: Iterable[Record], log_every: int) -> Iterator[Record]:
    """Yield the records that are due, evaluated, or the last of their run.

    Where a number is not finite, yield a record without numbers that says so.

    Raises:
        DivergedError: a number is not finite.
    """
    for record in records:
        problem = _not_finite(record)
        if problem:
            yield dataclasses.replace(
                record,
                loss=None,
                grad_norm=None,
                weight_norm=None,
                update_ratios=None,
                scores={},
                metrics={},
                stop_reason=f"diverged: {problem}",
            )
            raise DivergedError(f"{problem}: lower lr or max_grad_norm")
        if record.step % log_every == 0 or record.is_evaluated or record.stop_reason:
            yield record


def _not_finite(record: Record) -> str | None:
    values = {"loss": record.loss, "gradient's norm": record.grad_norm}
    values |= {f"{name} loss": score.nats for name, score in record.scores.items()}
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            return f"the {name} is {value} at step {record.step} (lr {record.lr:.3g})"
    return None

"""The training loop: a generator of records. Whoever iterates prints, plots or saves."""

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lmcore.evaluation.scores import Answers, Score
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Task
from lmcore.training import parallel
from lmcore.training.checkpoint import (
    KEPT,
    Progress,
    latest_checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from lmcore.training.config import TrainConfig
from lmcore.training.optimizer import global_norm
from lmcore.training.records import Pending, Record, finite, recorded
from lmcore.training.runtime import Runtime, keep_large_blocks
from lmcore.training.step import Stepper

STEPS_BEFORE_READING = 32
"""On a GPU numbers are read back after so many steps: reading waits until the GPU is done."""

HELD = 5
"""Evaluations in a row that must reach the accuracy at which a run may end."""


@contextlib.contextmanager
def between_steps() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C or a polite kill sets, so that a step is finished first."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {
        number: signal.signal(number, lambda *_: asked.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Best:
    """The best validation score so far, its weights where early stopping may want them, and for
    how many evaluations in a row the accuracy has held.
    """

    path: Path | None
    step: int = 0
    nats: float = math.inf
    misses: int = 0
    held: int = 0
    weights: dict[str, Tensor] | None = None

    def see(self, step: int, nats: float, model: GPT) -> None:
        """Take note of the score after a step."""
        if nats >= self.nats:
            self.misses += 1
            return
        self.step, self.nats, self.misses = step, nats, 0
        if self.path is None:
            self.weights = {name: value.clone() for name, value in model.state_dict().items()}
        elif parallel.rank() == 0:
            save_weights(self.path, model)

    def restore(self, model: GPT) -> None:
        """Put the best weights back into model."""
        if self.weights is None:
            load_weights(self.path, model)
        else:
            model.load_state_dict(self.weights)


@torch.no_grad()
def weight_norm(model: nn.Module) -> float:
    """Return the L2 norm of all of model's weights together."""
    return global_norm(list(model.parameters())).item()


def train(
    model: GPT,
    config: TrainConfig,
    source: Task,
    runtime: Runtime | None = None,
    checkpoints: Path | None = None,
) -> Iterator[Record]:
    """Train model in place and yield a record before the first step and after each one.

    What runtime leaves open is settled by what the machine has. With a folder for checkpoints an
    interrupted run goes on where the newest one was written, with the numbers it would have had.

    Raises:
        DivergedError: a loss or gradient is not finite, after a record that says so; the last
            checkpoint stays as it is.
        MemoryError: a batch does not fit.
        KeyboardInterrupt: as asked, after the step under way and a checkpoint.
    """
    keep_large_blocks()
    tokens_per_step = config.batch_size * model.config.context_length
    steps = config.planned_steps(source, tokens_per_step)
    flops = steps * tokens_per_step * model.config.flops_per_token
    runtime = (runtime or Runtime()).resolve(flops, config.precision)
    model.to(runtime.device).train()
    stepper = Stepper(model, config, runtime, steps)
    progress = taken_up(checkpoints, model, stepper.optimizer, runtime)
    best = Best(checkpoints / "best.safetensors" if checkpoints else None)
    best.step, best.misses, best.held = progress.best_step, progress.misses, progress.held
    best.nats = math.inf if progress.best_nats is None else progress.best_nats
    is_over = bool(progress.stop_reason) or progress.step >= steps
    if not is_over:
        stepper.start(source.batch(0), progress.step)
        pending = Pending(tokens_per_step, progress.elapsed_s)
        yield from _steps(stepper, source, pending, best, progress.step, checkpoints)
    if config.evaluation.patience:
        best.restore(model)


def taken_up(
    checkpoints: Path | None, model: GPT, optimizer: torch.optim.Optimizer, runtime: Runtime
) -> Progress:
    """Return how far the run has come whose newest checkpoint now stands in model and optimizer.

    Raises:
        ValueError: the checkpoint is damaged, or was computed in another precision.
    """
    newest = latest_checkpoint(checkpoints) if checkpoints else None
    if newest is None:
        return Progress(step=0, elapsed_s=0.0, precision=runtime.precision)
    progress = load_checkpoint(newest, model, optimizer)
    if progress.precision != runtime.precision:
        raise ValueError(
            f"{newest} was trained in {progress.precision}, not {runtime.precision}: "
            f"ask for --runtime.precision {progress.precision} to go on with it"
        )
    return progress


def _steps(
    stepper: Stepper,
    source: Task,
    pending: Pending,
    best: Best,
    done: int,
    checkpoints: Path | None,
) -> Iterator[Record]:
    model, config, runtime, steps = stepper.model, stepper.config, stepper.runtime, stepper.steps
    evaluation = config.evaluation
    reading = STEPS_BEFORE_READING if runtime.device.startswith("cuda") else 1

    def scores(step: int) -> dict[str, Score | Answers]:
        with runtime.autocast():
            found = source.scores(model)
        if evaluation.patience:
            best.see(step, found["validation"].nats, model)
        if evaluation.stop_accuracy:
            is_there = found["validation"].accuracy >= evaluation.stop_accuracy
            best.held = best.held + 1 if is_there else 0
        if evaluation.keep_weights and checkpoints and parallel.rank() == 0:
            save_weights(checkpoints / f"{KEPT}{step:07d}.safetensors", model)
        return found

    with between_steps() as asked_to_stop:
        if done == 0:
            norm = weight_norm(model)
            yield Record(step=0, tokens=0, elapsed_s=0.0, weight_norm=norm, scores=scores(0))
        saved = pending.started = time.monotonic()
        for step in range(done + 1, steps + 1):
            loss = stepper.gradient(source.batch(step - 1))
            is_last = step == steps
            is_due = step in evaluation.eval_at or step % (evaluation.eval_every or steps) == 0
            norm, lr, went = stepper.update(step, watched=is_last or is_due)
            pending.steps.append((step, loss, norm, lr))
            is_stopped = asked_to_stop.is_set() and parallel.world() == 1  # many stop together
            if not (is_last or is_due or is_stopped or len(pending.steps) == reading):
                continue
            *earlier, record = pending.read()
            for each in earlier:
                yield from recorded(finite(each), evaluation.log_every)
            stop_reason = None
            if parallel.anywhere(pending.elapsed_s > (config.max_s or math.inf)):
                stop_reason = f"after the {config.max_s:g} seconds it was given"
            found = scores(step) if is_last or is_due or stop_reason else {}
            if evaluation.patience and best.misses >= evaluation.patience:
                stop_reason = f"no better validation loss since step {best.step}"
            if best.held >= HELD:
                stop_reason = f"validation accuracy held at {evaluation.stop_accuracy:g} or above"
            norm = weight_norm(model) if found else None
            record = dataclasses.replace(
                record, weight_norm=norm, update_ratios=went, scores=found, stop_reason=stop_reason
            )
            yield from recorded(finite(record), evaluation.log_every)
            stop = parallel.anywhere(asked_to_stop.is_set())
            late = parallel.anywhere(time.monotonic() - saved > runtime.checkpoint_every_s)
            if checkpoints and (stop or late or is_last or stop_reason):
                progress = Progress(
                    step=step,
                    elapsed_s=pending.elapsed_s,
                    precision=runtime.precision,
                    best_step=best.step,
                    best_nats=best.nats if math.isfinite(best.nats) else None,
                    misses=best.misses,
                    held=best.held,
                    stop_reason=stop_reason,
                )
                if parallel.rank() == 0:
                    save_checkpoint(checkpoints, model, stepper.optimizer, progress)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt
            if stop_reason:
                return
            pending.started = time.monotonic()

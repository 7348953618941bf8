"""The training loop: a generator of records. Whoever iterates prints, plots or saves."""

import contextlib
import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lmcore.boundary import checked
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Batch, Task, facts_of
from lmcore.training import parallel
from lmcore.training.checkpoint import (
    Progress,
    save_progress,
    save_weights,
    weights_path,
)
from lmcore.training.config import EvaluationConfig, TrainConfig, default
from lmcore.training.early_stopping import EarlyStopping
from lmcore.training.gradients import global_norm
from lmcore.training.identity import run_facts
from lmcore.training.interrupts import Interrupt
from lmcore.training.metrics import Metric, check_names, measure
from lmcore.training.optimizer import Roles
from lmcore.training.records import MetricBuffer, Record, due_records
from lmcore.training.resume import reason_to_stop, resumed_progress, sole_writer, time_limit
from lmcore.training.runtime import Runtime
from lmcore.training.step import Loss, Optimizer, Schedule, Stepper

GPU_STEPS_PER_READING = 32
"""Steps between readings of numbers from a GPU, because each reading waits for the GPU."""


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=3)


@checked
def train(
    model: nn.Module,
    config: TrainConfig,
    task: Task,
    runtime: Runtime | None = None,
    checkpoints: str | Path | None = None,
    *,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    loss: Loss | None = None,
    roles: Roles | None = None,
    metrics: Mapping[str, Metric] | None = None,
    before_checkpoint: Callable[[], None] | None = None,
    select: str = "validation",
    select_mode: Literal["min", "max"] = "min",
    interrupt: Interrupt | None = None,
    show: Callable[[str], None] = _warn,
) -> Iterator[Record]:
    """Train model in place and yield a record before the first step and after each one.

    The model is any module from ids (batch, seq) to logits (batch, seq, vocab). Optimizer, schedule
    and loss come from config unless they are given:

    - optimizer: a torch optimizer, or a function that builds one from the model.
    - schedule(step, steps): the multiplier of the learning rate at a step counted from 0.
    - loss(logits, targets): the mean over rows of logits (rows, vocab).
    - roles(name, parameter): a parameter's role in the config's optimizer; see `parameter_groups`.
    - metrics: functions from the model to a number by name, recorded with each score.
    - before_checkpoint: called before a checkpoint is written, when all records up to it have been
      yielded; a caller that stores records makes them durable here.
    - select: the score or metric that early stopping follows; select_mode says which way is better.
    - interrupt: notes signals while the caller works on a record; they take effect after a step.
    - show: takes a line for the user; by default it is a warning.

    With a folder for checkpoints an interrupted run resumes from the newest one, with the numbers
    that an uninterrupted run has. A run that ended goes on if its length, max_s or patience now
    reach further; otherwise a line says why there is nothing to do. Ctrl-C and SIGTERM during a
    step take effect after it.

    Raises:
        ValueError: the arguments do not fit together, the checkpoints are of another run, or
            another process trains there; raised before the first step.
        DivergedError: a loss or gradient is not finite. A record before it says so, and the last
            checkpoint stays as it is.
        MemoryError: a batch does not fit.
        KeyboardInterrupt: on a signal, after the step and a checkpoint.
    """
    metrics = metrics or {}
    check_names(metrics)
    batch = task.batch(0)
    config = fitted(config, task, batch)
    tokens_per_step = batch.x.numel()
    steps = config.planned_steps(task, tokens_per_step)
    flops = total_flops(model, steps * tokens_per_step)
    runtime = (runtime or Runtime()).resolve(flops, config.precision)
    model.to(runtime.device).train()
    stepper = Stepper(
        model,
        config,
        runtime,
        steps,
        optimizer=optimizer,
        schedule=schedule,
        loss=loss,
        roles=roles,
    )
    folder = None if checkpoints is None else Path(checkpoints)
    with sole_writer(folder):
        given = {"optimizer": optimizer, "schedule": schedule, "loss": loss, "roles": roles}
        facts = run_facts(model, config, task, batch, stepper.optimizer, given)
        facts |= {"select": select, "select_mode": select_mode}
        progress = resumed_progress(folder, stepper, facts, show)
        best_weights = folder / "best.safetensors" if folder else None
        stopping = EarlyStopping(config.evaluation, progress, best_weights, select, select_mode)
        reason = reason_to_stop(progress, stopping, config.max_s, steps)
        if reason:
            show(f"{folder} holds a run with nothing left to train: {reason}")
        else:
            stepper.start(batch, progress.step)
            run = _Run(
                stepper=stepper,
                task=task,
                metrics=metrics,
                stopping=stopping,
                buffer=MetricBuffer(tokens_per_step, progress.elapsed_s),
                folder=folder,
                facts=facts,
                done=progress.step,
                interrupt=interrupt or Interrupt(),
                before_checkpoint=before_checkpoint,
            )
            yield from _interruptible(_records(run), run.interrupt)
        stopping.restore(model)


def fitted(config: TrainConfig, task: Task, batch: Batch) -> TrainConfig:
    """Return config with what the task's batches decide in place of its defaults.

    Raises:
        ValueError: config sets batch_size, order or within_documents to something else.
    """
    order = facts_of(task).get("order", config.order)
    of_task = {
        "batch_size": len(batch.x),
        "order": order,
        "within_documents": batch.documents is not None,
    }
    for name, value in of_task.items():
        if getattr(config, name) not in (value, default(config, name)):
            raise ValueError(
                f"{name} is {getattr(config, name)} in the config, but {value} in the task's "
                "batches: leave it out of the config, or set both to the same"
            )
    return dataclasses.replace(config, **of_task)


def total_flops(model: nn.Module, n_tokens: int) -> int | None:
    """Return the floating-point operations of training on n_tokens, or None where nobody counted.

    They are counted for our GPT alone.
    """
    return n_tokens * model.config.flops_per_token if isinstance(model, GPT) else None


def _interruptible(records: Generator[Record], interrupt: Interrupt) -> Iterator[Record]:
    """Yield records, with signals deferred while one is computed and handled as usual between."""
    with contextlib.closing(records):
        while True:
            with interrupt.deferred():
                record = next(records, None)
            if record is None:
                break
            yield record
    if interrupt.is_requested:
        raise KeyboardInterrupt


@dataclass(kw_only=True)
class _Run:
    """What the loop works with from step to step."""

    stepper: Stepper
    task: Task
    metrics: Mapping[str, Metric]
    stopping: EarlyStopping
    buffer: MetricBuffer
    folder: Path | None
    facts: dict[str, Any]
    done: int
    interrupt: Interrupt
    before_checkpoint: Callable[[], None] | None


def _records(run: _Run) -> Generator[Record]:
    stepper, buffer, evaluation = run.stepper, run.buffer, run.stepper.config.evaluation
    steps, runtime = stepper.steps, stepper.runtime
    steps_per_reading = GPU_STEPS_PER_READING if runtime.device.startswith("cuda") else 1
    if run.done == 0:
        yield _evaluated(run, Record(step=0, tokens=0, elapsed_s=0.0))
    saved_at = time.monotonic()
    buffer.start_clock()
    for step in range(run.done + 1, steps + 1):
        loss = stepper.gradient(run.task.batch(step - 1))
        is_due = evaluation_is_due(evaluation, step, steps)
        norm, lr, ratios = stepper.update(step, with_ratios=is_due)
        buffer.add(step, loss, norm, lr)
        is_alone = parallel.world() == 1  # several processes look for signals at the same step
        is_stopped = run.interrupt.is_requested and is_alone
        if not (is_due or is_stopped or len(buffer) == steps_per_reading):
            continue
        *earlier, record = buffer.read()
        yield from due_records(earlier, evaluation.log_every)
        record = dataclasses.replace(record, update_ratios=ratios, stop_reason=_time_is_up(run))
        if is_due or record.stop_reason:
            record = _evaluated(run, record)
        yield from due_records([record], evaluation.log_every)
        is_stopped = parallel.anywhere(run.interrupt.is_requested)
        is_late = parallel.anywhere(time.monotonic() - saved_at > runtime.checkpoint_every_s)
        if run.folder and (is_stopped or is_late or step == steps or record.stop_reason):
            _save(run.folder, run, record)
            saved_at = time.monotonic()
        if is_stopped:
            raise KeyboardInterrupt
        if record.stop_reason:
            return
        buffer.start_clock()


def evaluation_is_due(config: EvaluationConfig, step: int, steps: int) -> bool:
    """Return whether scores are taken after a step, counted from 1, of so many."""
    is_regular = step % (config.eval_every or steps) == 0
    return step == steps or step in config.eval_at or is_regular


def _time_is_up(run: _Run) -> str | None:
    limit = run.stepper.config.max_s
    is_up = parallel.anywhere(run.buffer.elapsed_s > (limit or math.inf))
    return time_limit(limit) if is_up and limit else None


def _evaluated(run: _Run, record: Record) -> Record:
    """Return record with scores, metrics and the norm of the weights, and why to stop, if so."""
    model, folder = run.stepper.model, run.folder
    with run.stepper.runtime.autocast():
        scores = run.task.scores(model)
        check_names(scores)
        metrics = measure(model, run.metrics)
    check_names(metrics, taken=scores)
    run.stopping.update(record.step, scores, metrics, model)
    if run.stepper.config.evaluation.keep_weights and folder and parallel.rank() == 0:
        save_weights(weights_path(folder, record.step), model)
    return dataclasses.replace(
        record,
        weight_norm=weight_norm(model),
        scores=scores,
        metrics=metrics,
        stop_reason=run.stopping.stop_reason or record.stop_reason,
    )


@torch.no_grad()
def weight_norm(model: nn.Module) -> float:
    """Return the L2 norm of all of model's weights together."""
    return global_norm(list(model.parameters())).item()


def _save(folder: Path, run: _Run, record: Record) -> None:
    if parallel.rank() > 0:
        return
    if run.before_checkpoint:
        run.before_checkpoint()
    stopping = run.stopping
    progress = Progress(
        step=record.step,
        elapsed_s=run.buffer.elapsed_s,
        precision=run.stepper.runtime.precision,
        best_step=stopping.best_step,
        best_value=stopping.best_value if math.isfinite(stopping.best_value) else None,
        n_without_improvement=stopping.n_without_improvement,
        n_accurate=stopping.n_accurate,
        stop_reason=record.stop_reason,
    )
    save_progress(folder, run.stepper.model, run.stepper.optimizer, progress, run.facts)

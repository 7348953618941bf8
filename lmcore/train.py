"""The training loop: a generator of records. Whoever iterates prints, plots or saves.

What is learned stands in `TrainConfig`, what it is learned from in a `Source`, and how it is
computed in `Runtime`.
"""

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmcore import parallel, schedule
from lmcore.checkpoint import (
    KEPT,
    Progress,
    latest_checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)
from lmcore.config import check_choices
from lmcore.data.batches import Order
from lmcore.evaluation.scores import Answers, Score
from lmcore.loss import Kind, linear_cross_entropy
from lmcore.model.accounting import Memory, memory
from lmcore.model.flex import blocks_within
from lmcore.model.gpt import GPT
from lmcore.optimizer import build_optimizer, clip_gradient, global_norm
from lmcore.runtime import Runtime, keep_large_blocks
from lmcore.tasks.protocols import Batch, Source

STEPS_BEFORE_READING = 32
"""On a GPU numbers are read back after so many steps: reading waits until the GPU is done."""

HELD = 5
"""Evaluations in a row that must reach the accuracy at which a run may end."""

READ_BY = {
    "momentum": ("optimizer", ("sgd", "muon")),
    "betas": ("optimizer", ("adamw", "muon")),
    "eps": ("optimizer", ("adamw", "muon")),
    "floor": ("schedule", ("cosine", "linear", "wsd", "wsd-linear")),
    "decay_fraction": ("schedule", ("wsd", "wsd-linear")),
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is learned from what: batches, steps, the optimizer's numbers and their schedule.

    The order of batches is told in `Batches`; within_documents keeps attention from crossing from
    one document to the next. The length is one of epochs, steps and n_tokens. A run ends before it
    after max_s seconds of training, or when patience evaluations in a row brought no better
    validation score, and then goes back to its best weights, or once the validation accuracy has
    held at until_accuracy or above. The validation set is scored before the first step, after those
    in evaluate_at, after every evaluate_every of them, and after the last one. Steps are recorded
    where they are scored, and after every record_every of them. With keep_weights the weights of
    each evaluation stay beside the checkpoints. A precision that is not auto is taken wherever none
    is asked for by hand: where rounding decides what is learned.

    The loss is of softmax, in float32 or float64, or of StableMax; scores are always of the first.
    A clipped gradient is filtered with grokfast, the gain, and grokfast_memory, then made
    orthogonal to its weight, as told in `optimizer`.
    """

    batch_size: int = 64
    order: Order = "sequential"
    within_documents: bool = False
    epochs: int | None = 7
    steps: int | None = None
    n_tokens: int | None = None
    max_s: float | None = None
    patience: int | None = None
    until_accuracy: float | None = None
    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    lr: float = 6e-3
    schedule: Literal["constant", "cosine", "linear", "wsd", "wsd-linear"] = "cosine"
    warmup: int = 0
    floor: float = 0.0
    decay_fraction: float = 0.2
    momentum: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_embeddings: bool = False
    clip: float | None = 1.0
    loss: Kind = "softmax"
    grokfast: float = 0.0
    grokfast_memory: float = 0.98
    orthogonal: bool = False
    evaluate_at: tuple[int, ...] = (1, 44, 132, 264, 440, 616, 792)
    evaluate_every: int | None = None
    record_every: int = 1
    keep_weights: bool = False
    precision: Literal["auto", "float32"] = "auto"

    def __post_init__(self):
        check_choices(self)
        for name in (
            "batch_size", "epochs", "steps", "n_tokens", "max_s", "patience", "lr", "clip",
            "evaluate_every", "until_accuracy", "record_every",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        lengths = {name: getattr(self, name) for name in ("epochs", "steps", "n_tokens")}
        if sum(value is not None for value in lengths.values()) != 1:
            told = ", ".join(f"{name} {value}" for name, value in lengths.items())
            raise ValueError(f"a run's length is one of three, and the others are None: not {told}")
        if self.optimizer == "muon" and self.momentum == 0:
            raise ValueError("muon without momentum orthogonalises noise: set momentum, often 0.95")
        for name, (choice, kinds) in READ_BY.items():
            if getattr(self, choice) not in kinds and getattr(self, name) != _default(name):
                raise ValueError(
                    f"{name} {getattr(self, name)} has no effect with "
                    f"{choice} {getattr(self, choice)!r}: leave it out"
                )
        if self.grokfast == 0 and self.grokfast_memory != _default("grokfast_memory"):
            told = f"grokfast_memory {self.grokfast_memory}"
            raise ValueError(f"{told} has no effect with grokfast 0: leave it out")

    def planned_steps(self, source: Source, tokens_per_step: int) -> int:
        """Return the number of optimizer steps on source that fill the run's length.

        Raises:
            ValueError: it is less than one, or source has no epochs to count by.
        """
        if self.epochs is not None and source.batches_per_epoch is None:
            raise ValueError("these batches have no epochs: give the length in steps or n_tokens")
        if self.epochs is not None:
            return self.epochs * source.batches_per_epoch
        if self.steps is not None:
            return self.steps
        if self.n_tokens < tokens_per_step:
            raise ValueError(f"n_tokens {self.n_tokens} do not fill a batch of {tokens_per_step}")
        return self.n_tokens // tokens_per_step

    @property
    def moments(self) -> int:
        """How many numbers the optimizer keeps for each weight, at most."""
        own = int(self.momentum > 0) if self.optimizer == "sgd" else 2
        return own + (self.grokfast > 0)

    def lr_at(self, step: int, steps: int) -> float:
        """Return the learning rate's multiplier at a step counted from 1."""
        return schedule.multiplier(
            self.schedule, step - 1, steps, self.warmup, self.floor, self.decay_fraction
        )


def _default(name: str) -> object:
    return next(f.default for f in dataclasses.fields(TrainConfig) if f.name == name)


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
    gradient_norm: float | None = None
    weight_norm: float | None = None
    update_ratios: dict[str, float] | None = None
    scores: dict[str, Score | Answers] = field(default_factory=dict)
    ended: str | None = None


class DivergedError(ArithmeticError):
    """The loss stopped being a number."""


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


class BatchLoss(nn.Module):
    """A batch's mean cross-entropy in nats, as a module so that processes can share the work."""

    def __init__(self, model: GPT, runtime: Runtime, kind: Kind):
        super().__init__()
        self.model, self.runtime, self.kind = model, runtime, kind
        self.is_compiled = runtime.compile == "yes"
        self.in_blocks = runtime.document_attention(model.config.dropout) == "flex"
        self.hidden, self.blocks_within = model.hidden, blocks_within
        if self.is_compiled:
            self.hidden = torch.compile(model.hidden, dynamic=False)
            self.blocks_within = torch.compile(blocks_within, dynamic=False)

    def forward(
        self,
        x: Int[Tensor, "batch seq"],
        y: Int[Tensor, "batch targets"],
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, ""]:
        last = y.shape[1] if y.shape[1] < x.shape[1] else None
        with self.runtime.autocast():
            has_blocks = self.in_blocks and documents is not None
            blocks = self.blocks_within(documents) if has_blocks else None
            features = self.hidden(x, documents, last=last, blocks=blocks)
            features = features.flatten(0, 1).to(self.runtime.dtype)
            weight, compiled = self.model.head_weight, self.is_compiled
            return linear_cross_entropy(
                features, weight, y.flatten(), compiled=compiled, kind=self.kind
            )


class Stepper:
    """One optimizer step at a time: a batch in parts, over all processes, then the update."""

    def __init__(self, model: GPT, config: TrainConfig, runtime: Runtime, steps: int):
        self.model, self.config, self.runtime, self.steps = model, config, runtime, steps
        self.optimizer = build_optimizer(
            config.optimizer,
            model,
            lr=config.lr,
            weight_decay=config.weight_decay,
            decay_embeddings=config.decay_embeddings,
            momentum=config.momentum,
            betas=config.betas,
            eps=config.eps,
            grokfast=config.grokfast,
            grokfast_memory=config.grokfast_memory,
            orthogonal=config.orthogonal,
        )
        config.lr_at(1, steps)  # contradictions of the schedule show before the first step
        self.parts = runtime.accumulate
        if config.batch_size % (self.parts * parallel.world()):
            raise ValueError(
                f"a batch of {config.batch_size} does not split evenly into {self.parts} parts "
                f"for each of {parallel.world()} processes"
            )
        self.batch_loss: nn.Module = BatchLoss(model, runtime, config.loss)

    def start(self, batch: Batch, done: int) -> None:
        """Share the work with the other processes, if any, and compile, after done steps."""
        if parallel.world() > 1:
            self.batch_loss = nn.parallel.DistributedDataParallel(self.batch_loss)
        if parallel.rank() > 0:  # dropout of its own
            torch.manual_seed(torch.initial_seed() + 1_000_003 * parallel.rank() + done)
        if self.runtime.compile == "yes":  # before the clock starts, and with no random number
            with torch.random.fork_rng():
                self.gradient(batch)

    def gradient(self, batch: Batch) -> Float[Tensor, ""]:
        """Leave the batch's gradient in the parameters; return its loss.

        Raises:
            MemoryError: a part does not fit in memory; the message says what would.
        """
        self.optimizer.zero_grad()
        own = batch.part(parallel.rank(), parallel.world())
        total = torch.zeros((), device=self.runtime.device)
        for number in range(self.parts):
            part = own.part(number, self.parts).to(self.runtime.device)
            with self._quiet() if number < self.parts - 1 else contextlib.nullcontext():
                try:
                    loss = self.batch_loss(*part) / self.parts
                    loss.backward()
                except RuntimeError as error:
                    raise self._explained(error, part) from error
            total += loss.detach()
        return parallel.mean(total)

    def _quiet(self) -> contextlib.AbstractContextManager:
        return self.batch_loss.no_sync() if parallel.world() > 1 else contextlib.nullcontext()

    def _explained(self, error: RuntimeError, part: Batch) -> Exception:
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            return error
        rows, seq = part.x.shape
        needed = memory(
            self.model.config,
            rows * seq,
            moments=self.config.moments,
            activation_bytes=self.runtime.dtype.itemsize,
            on_gpu=part.x.is_cuda,
        )
        return MemoryError(
            f"out of memory with {rows} x {seq} tokens at once, which take about "
            f"{needed.total / 1e9:.1f} GB, {needed.activations / rows / 1e9:.2f} GB of them for "
            f"each row; {self._fitting(needed, rows)}: take a smaller batch, or read it in more "
            f"parts with --runtime.accumulate {2 * self.parts}"
        )

    def _fitting(self, needed: Memory, rows: int) -> str:
        total = self.runtime.memory_bytes()
        if total is None:
            return "how much there is, the system does not tell"
        fixed = needed.total - needed.activations
        fit = max(0, int((total - fixed) * rows / needed.activations))
        return f"of the {total / 1e9:.1f} GB here about {fit} rows would fit"

    def update(
        self, step: int, watched: bool = False
    ) -> tuple[Float[Tensor, ""], float, dict[str, float] | None]:
        """Step along the gradient, clipped; return its norm before, the learning rate, and if
        watched how far each group of parameters went, as a share of its own norm.
        """
        clip = math.inf if self.config.clip is None else self.config.clip
        norm = clip_gradient(self.model.parameters(), clip)
        share = self.config.lr_at(step, self.steps)
        groups = self.optimizer.param_groups
        for group in groups:
            group["lr"] = group["peak_lr"] * share
        before = [[p.detach().clone() for p in group["params"]] for group in groups if watched]
        self.optimizer.step()
        went = update_ratios(groups, before) if watched else None
        return norm, self.config.lr * share, went


@torch.no_grad()
def update_ratios(groups: Sequence[dict], before: Sequence[Sequence[Tensor]]) -> dict[str, float]:
    """Return how far each group's parameters went from before, as a share of their norm then.

    A group that was all zeros has no such share and is left out.
    """
    found = {}
    for group, old in zip(groups, before, strict=True):
        moved = [p - was for p, was in zip(group["params"], old, strict=True)]
        if norm := global_norm(old).item():
            found[group["name"]] = global_norm(moved).item() / norm
    return found


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
                gradient_norm=norm,
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
    values = {"loss": record.loss, "gradient's norm": record.gradient_norm}
    values |= {f"{name} loss": found.nats for name, found in record.scores.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            said = f"the {name} is {value} at step {record.step} (lr {record.lr:.3g})"
            yield dataclasses.replace(
                record,
                loss=None,
                gradient_norm=None,
                weight_norm=None,
                update_ratios=None,
                scores={},
                ended=f"diverged: {said}",
            )
            raise DivergedError(f"{said}: lower lr or clip")
    yield record


def recorded(records: Iterator[Record], every: int) -> Iterator[Record]:
    """Pass on the records that are due, scored, or the last of their run."""
    for record in records:
        if record.step % every == 0 or record.scores or record.ended:
            yield record


@torch.no_grad()
def weight_norm(model: nn.Module) -> float:
    """Return the L2 norm of all of model's weights together."""
    return global_norm(list(model.parameters())).item()


def train(
    model: GPT,
    config: TrainConfig,
    source: Source,
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
    is_over = bool(progress.ended) or progress.step >= steps
    if not is_over:
        stepper.start(source.batch(0), progress.step)
        pending = Pending(tokens_per_step, progress.elapsed_s)
        yield from _steps(stepper, source, pending, best, progress.step, checkpoints)
    if config.patience:
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
    source: Source,
    pending: Pending,
    best: Best,
    done: int,
    checkpoints: Path | None,
) -> Iterator[Record]:
    model, config, runtime, steps = stepper.model, stepper.config, stepper.runtime, stepper.steps
    reading = STEPS_BEFORE_READING if runtime.device.startswith("cuda") else 1

    def scores(step: int) -> dict[str, Score | Answers]:
        with runtime.autocast():
            found = source.scores(model)
        if config.patience:
            best.see(step, found["validation"].nats, model)
        if config.until_accuracy:
            is_there = found["validation"].accuracy >= config.until_accuracy
            best.held = best.held + 1 if is_there else 0
        if config.keep_weights and checkpoints and parallel.rank() == 0:
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
            is_due = step in config.evaluate_at or step % (config.evaluate_every or steps) == 0
            norm, lr, went = stepper.update(step, watched=is_last or is_due)
            pending.steps.append((step, loss, norm, lr))
            is_stopped = asked_to_stop.is_set() and parallel.world() == 1  # many stop together
            if not (is_last or is_due or is_stopped or len(pending.steps) == reading):
                continue
            *earlier, record = pending.read()
            for each in earlier:
                yield from recorded(finite(each), config.record_every)
            ended = None
            if parallel.anywhere(pending.elapsed_s > (config.max_s or math.inf)):
                ended = f"after the {config.max_s:g} seconds it was given"
            found = scores(step) if is_last or is_due or ended else {}
            if config.patience and best.misses >= config.patience:
                ended = f"no better validation loss since step {best.step}"
            if best.held >= HELD:
                ended = f"validation accuracy held at {config.until_accuracy:g} or above"
            norm = weight_norm(model) if found else None
            record = dataclasses.replace(
                record, weight_norm=norm, update_ratios=went, scores=found, ended=ended
            )
            yield from recorded(finite(record), config.record_every)
            stop = parallel.anywhere(asked_to_stop.is_set())
            late = parallel.anywhere(time.monotonic() - saved > runtime.checkpoint_every_s)
            if checkpoints and (stop or late or is_last or ended):
                progress = Progress(
                    step=step,
                    elapsed_s=pending.elapsed_s,
                    precision=runtime.precision,
                    best_step=best.step,
                    best_nats=best.nats if math.isfinite(best.nats) else None,
                    misses=best.misses,
                    held=best.held,
                    ended=ended,
                )
                if parallel.rank() == 0:
                    save_checkpoint(checkpoints, model, stepper.optimizer, progress)
                saved = time.monotonic()
            if stop:
                raise KeyboardInterrupt
            if ended:
                return
            pending.started = time.monotonic()

"""The training loop: a generator of records. Whoever iterates prints, plots or saves.

What is learned stands in `TrainConfig`; how it is computed, in `Runtime`, changes no result
beyond rounding.
"""

import contextlib
import ctypes
import dataclasses
import math
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from lmcore import schedule
from lmcore.checkpoint import Progress, latest_checkpoint, load_checkpoint, save_checkpoint
from lmcore.evaluate import Score, challenge_score, score
from lmcore.loss import linear_cross_entropy
from lmcore.model import GPT
from lmcore.optimizer import SGD, clip_gradient
from lmcore.tokens import Tokens, batches_per_epoch, sequential_batch

WORTH_COMPILING = 1e14
"""Floating-point operations in a run above which compilation, about a minute, is soon repaid."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is learned from what: batches, steps and the optimizer's numbers.

    The validation text is scored before the first step, after the steps in evaluate_at, and after
    the last one.
    """

    batch_size: int = 64
    epochs: int = 7
    lr: float = 6e-3
    weight_decay: float = 0.0
    clip: float = 1.0
    evaluate_at: tuple[int, ...] = (1, 44, 132, 264, 440, 616, 792)

    def __post_init__(self):
        for name in ("batch_size", "epochs", "lr", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How to compute. `auto` is settled by `resolve` from what the machine really has."""

    device: str = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "yes", "no"] = "auto"
    checkpoint_every_s: float = 300.0

    def resolve(self, flops: int | float) -> "Runtime":
        """Return the runtime with nothing left to settle, for a run of so many operations.

        Raises:
            ValueError: the device is unknown or not there.
        """
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.split(":")[0] not in ("cpu", "cuda"):
            raise ValueError(f"unknown device {device!r}: take cpu, cuda or auto")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError("device cuda was asked for, but torch sees no GPU here")
        precision = self.precision
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16(device) else "float32"
        compile_ = self.compile
        if compile_ == "auto":
            can = device != "cpu" or shutil.which("g++") is not None
            compile_ = "yes" if can and flops > WORTH_COMPILING else "no"
        return dataclasses.replace(self, device=device, precision=precision, compile=compile_)

    def autocast(self) -> torch.autocast:
        """Return the context in which products are taken in this precision."""
        kind = self.device.split(":")[0]
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bfloat16")


def has_bfloat16(device: str) -> bool:
    """Return whether device multiplies bfloat16 in hardware; emulation is slower than float32."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device)[0] >= 8
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False


def keep_large_blocks() -> None:
    """Tell glibc to keep freed memory for reuse; training frees and takes the same blocks always.

    Without it each step pays for giving gigabytes back to the system and getting them again.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            trim_threshold, mmap_threshold, largest = -1, -3, 2**31 - 1
            libc.mallopt(trim_threshold, largest)
            libc.mallopt(mmap_threshold, largest)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known after a step: the loss of its batch before it, and scores where due."""

    step: int
    tokens: int
    elapsed_s: float
    lr: float | None = None
    loss: float | None = None
    gradient_norm: float | None = None
    validation: Score | None = None
    challenge: Score | None = None


class DivergedError(ArithmeticError):
    """The loss stopped being a number."""


def require_finite(name: str, value: float, step: int, lr: float) -> None:
    """Raise DivergedError if value is infinite or no number."""
    if not math.isfinite(value):
        raise DivergedError(f"the {name} is {value} at step {step} (lr {lr:.3g}): lower lr or clip")


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


def steps_in(config: TrainConfig, n_tokens: int, context_length: int) -> int:
    """Return the number of optimizer steps that config's epochs over n_tokens take."""
    return config.epochs * batches_per_epoch(n_tokens, config.batch_size, context_length)


def train(
    model: GPT,
    config: TrainConfig,
    tokens: Tokens,
    validation: Tokens,
    end_id: int,
    runtime: Runtime,
    checkpoints: Path | None = None,
) -> Iterator[Record]:
    """Train model in place and yield a record before the first step and after each one.

    Runtime must be resolved, and end_id is what closes a document. With a folder for checkpoints
    an interrupted run goes on where the newest one was written, with the numbers it would have had.

    Raises:
        DivergedError: a loss or gradient is not finite; the last checkpoint stays as it is.
        KeyboardInterrupt: as asked, after the step under way and a checkpoint.
    """
    keep_large_blocks()
    model.to(runtime.device).train()
    optimizer = SGD(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    compiled = runtime.compile == "yes"
    hidden = torch.compile(model.hidden, dynamic=False) if compiled else model.hidden
    context = model.config.context_length
    tokens_per_step = config.batch_size * context
    steps = steps_in(config, len(tokens.ids), context)
    progress = Progress(step=0, elapsed_s=0.0, precision=runtime.precision)
    newest = latest_checkpoint(checkpoints) if checkpoints else None
    if newest:
        progress = load_checkpoint(newest, model, optimizer)
        if progress.precision != runtime.precision:
            raise ValueError(
                f"{newest} was trained in {progress.precision}, not {runtime.precision}: "
                f"ask for --precision {progress.precision} to go on with it"
            )

    def scores() -> dict[str, Score]:
        with runtime.autocast():
            return {
                "validation": score(model, validation, end_id),
                "challenge": challenge_score(model, validation, end_id, config.batch_size),
            }

    def batch_loss(step: int) -> torch.Tensor:
        x, y = sequential_batch(tokens.ids, step - 1, config.batch_size, context)
        with runtime.autocast():
            features = hidden(x.to(runtime.device)).flatten(0, 1)
            if runtime.precision == "bfloat16":
                features = features.bfloat16()
            targets = y.to(runtime.device).flatten()
            weight = model.head_weight
            return linear_cross_entropy(features, weight, targets, compiled=compiled)

    if compiled:  # before the clock starts, and without a trace in the run's random numbers
        with torch.random.fork_rng():
            batch_loss(1).backward()
    elapsed_s, saved = progress.elapsed_s, time.monotonic()
    with between_steps() as asked_to_stop:
        if progress.step == 0:
            yield Record(step=0, tokens=0, elapsed_s=0.0, **scores())
        for step in range(progress.step + 1, steps + 1):
            started = time.monotonic()
            optimizer.zero_grad()
            loss = batch_loss(step)
            loss.backward()
            norm = clip_gradient(model.parameters(), config.clip)
            lr = config.lr * schedule.cosine(step - 1, steps)
            for group in optimizer.param_groups:
                group["lr"] = lr
            require_finite("loss", loss.item(), step, lr)
            require_finite("gradient's norm", norm.item(), step, lr)
            optimizer.step()
            elapsed_s += time.monotonic() - started
            found = scores() if step == steps or step in config.evaluate_at else {}
            for name, found_score in found.items():
                require_finite(f"{name} loss", found_score.nats, step, lr)
            yield Record(
                step=step,
                tokens=step * tokens_per_step,
                elapsed_s=elapsed_s,
                lr=lr,
                loss=loss.item(),
                gradient_norm=norm.item(),
                **found,
            )
            late = time.monotonic() - saved > runtime.checkpoint_every_s
            if checkpoints and (late or step == steps or asked_to_stop.is_set()):
                progress = Progress(step=step, elapsed_s=elapsed_s, precision=runtime.precision)
                save_checkpoint(checkpoints, model, optimizer, progress)
                saved = time.monotonic()
            if asked_to_stop.is_set():
                raise KeyboardInterrupt

"""One optimizer step: the gradient of a batch, computed in parts, then the update."""

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmcore.evaluation.logits import IGNORE_INDEX, has_gpt_head, logits_of
from lmcore.model.accounting import TrainingMemory, training_memory
from lmcore.model.flex import document_block_mask
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Batch
from lmcore.training import parallel
from lmcore.training.config import TrainConfig
from lmcore.training.gradients import clip_gradient, global_norm, parameters_of
from lmcore.training.loss import LossKind, cross_entropy, linear_cross_entropy
from lmcore.training.optimizer import Roles, build_optimizer
from lmcore.training.runtime import Runtime

Optimizer = torch.optim.Optimizer | Callable[[nn.Module], torch.optim.Optimizer]
"""An optimizer of the model, or a function that builds one from it."""
Schedule = Callable[[int, int], float]
"""From a step, counted from 0, and the number of steps to a multiplier of the learning rate."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (rows, vocab) and targets (rows) to the mean loss over the rows."""


class LogitsLoss(nn.Module):
    """The loss of a batch for any module from ids to logits, which are all held at once."""

    def __init__(
        self,
        model: nn.Module,
        runtime: Runtime,
        kind: LossKind = "softmax",
        loss: Loss | None = None,
    ):
        super().__init__()
        self.model, self.runtime, self.loss = model, runtime, loss
        self.kind: LossKind = kind
        self.logits_of = logits_of
        if runtime.compile == "yes":
            self.logits_of = torch.compile(logits_of, dynamic=False)

    def forward(
        self,
        x: Int[Tensor, "batch seq"],
        y: Int[Tensor, "batch targets"],
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, ""]:
        last = y.shape[1] if y.shape[1] < x.shape[1] else None
        with self.runtime.autocast():
            logits = self.logits_of(self.model, x, documents, last)
            if self.loss is None:
                return cross_entropy(logits, y.flatten(), self.kind)
            logits = logits if logits.dtype == torch.float64 else logits.float()
            return self.loss(logits, y.flatten())


class GPTLoss(nn.Module):
    """The loss of a batch for our GPT, whose head and loss are fused."""

    def __init__(self, model: GPT, runtime: Runtime, kind: LossKind = "softmax"):
        super().__init__()
        self.model, self.runtime = model, runtime
        self.kind: LossKind = kind
        self.is_compiled = runtime.compile == "yes"
        self.in_blocks = runtime.document_attention(model.config.dropout) == "flex"
        self.hidden, self.document_block_mask = model.hidden, document_block_mask
        if self.is_compiled:
            self.hidden = torch.compile(model.hidden, dynamic=False)
            self.document_block_mask = torch.compile(document_block_mask, dynamic=False)

    def forward(
        self,
        x: Int[Tensor, "batch seq"],
        y: Int[Tensor, "batch targets"],
        documents: Int[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, ""]:
        last = y.shape[1] if y.shape[1] < x.shape[1] else None
        with self.runtime.autocast():
            block_mask = None
            if self.in_blocks and documents is not None:
                block_mask = self.document_block_mask(documents)
            features = self.hidden(x, documents, last=last, block_mask=block_mask)
            features = features.flatten(0, 1).to(self.runtime.dtype)
            weight, compiled = self.model.head_weight, self.is_compiled
            return linear_cross_entropy(
                features, weight, y.flatten(), compiled=compiled, kind=self.kind
            )


def batch_loss(
    model: nn.Module, runtime: Runtime, kind: LossKind = "softmax", loss: Loss | None = None
) -> nn.Module:
    """Return a module from a batch to its loss, so that processes can share the work.

    The loss is fused with the head where the model is our GPT and the loss is ours.
    """
    if loss is None and has_gpt_head(model):
        return GPTLoss(model, runtime, kind)
    return LogitsLoss(model, runtime, kind, loss)


class Stepper:
    """Takes one optimizer step at a time, over all processes.

    What is not given as optimizer, schedule or loss comes from config.

    Raises:
        ValueError: config, optimizer and roles do not fit together, or the batch does not split.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        runtime: Runtime,
        steps: int,
        *,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        loss: Loss | None = None,
        roles: Roles | None = None,
    ):
        self.model, self.config, self.runtime, self.steps = model, config, runtime, steps
        self.optimizer = optimizer_for(model, config, optimizer, roles)
        for group in self.optimizer.param_groups:
            group.setdefault("peak_lr", float(group["lr"]))
        self.schedule = schedule or config.schedule.multiplier
        self.schedule(0, steps)  # contradictions show before the first step
        self.parts = runtime.grad_accum_steps
        if config.batch_size % (self.parts * parallel.world()):
            raise ValueError(
                f"a batch of {config.batch_size} does not split evenly into {self.parts} parts "
                f"for each of {parallel.world()} processes"
            )
        self.batch_loss: Any = batch_loss(model, runtime, config.loss, loss)

    def start(self, batch: Batch, done: int) -> None:
        """Connect to the other processes, if any, and compile, before the step after done."""
        if parallel.world() > 1:
            self.batch_loss = nn.parallel.DistributedDataParallel(self.batch_loss)
        if parallel.rank() > 0:  # other dropout than in process 0
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
        rows = batch.part(parallel.rank(), parallel.world())
        total = torch.zeros((), device=self.runtime.device)
        for number in range(self.parts):
            part = rows.part(number, self.parts)
            divisor = self._divisor(part, batch)
            part = part.to(self.runtime.device)
            is_last = number == self.parts - 1
            with contextlib.nullcontext() if is_last else self._without_exchange():
                try:
                    loss = self.batch_loss(*part) / divisor
                    loss.backward()
                except RuntimeError as error:
                    raise self._explained(error, part) from error
            total += loss.detach()
        return parallel.mean(total)

    def _divisor(self, part: Batch, batch: Batch) -> float:
        """Return what the part's mean is divided by, so that each target of the batch counts alike.

        It is the number of parts, unless targets are ignored.
        """
        if self.parts * parallel.world() == 1:
            return 1.0
        scored, scored_here = (int((y != IGNORE_INDEX).sum()) for y in (batch.y, part.y))
        return scored / (scored_here * parallel.world()) if scored_here else math.inf

    def _without_exchange(self) -> contextlib.AbstractContextManager:
        return self.batch_loss.no_sync() if parallel.world() > 1 else contextlib.nullcontext()

    def _explained(self, error: RuntimeError, part: Batch) -> Exception:
        """Return error, or if memory ran out one that says how much is needed."""
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            return error
        rows, seq = part.x.shape
        message = f"out of memory with {rows} x {seq} tokens at once"
        if isinstance(self.model, GPT):
            message += self._needed(self.model, rows, seq, part.x.is_cuda)
        return MemoryError(
            f"{message}: take a smaller batch, or split it into more parts with "
            f"--runtime.grad_accum_steps {2 * self.parts}"
        )

    def _needed(self, model: GPT, rows: int, seq: int, on_gpu: bool) -> str:
        needed = training_memory(
            model.config,
            rows * seq,
            moments=self.config.optimizer.moments,
            activation_bytes=self.runtime.dtype.itemsize,
            on_gpu=on_gpu,
        )
        return (
            f", which take about {needed.total / 1e9:.1f} GB, "
            f"{needed.activations / rows / 1e9:.2f} GB of them for each row"
            f"{self._fitting(needed, rows)}"
        )

    def _fitting(self, needed: TrainingMemory, rows: int) -> str:
        total = self.runtime.memory_bytes()
        if total is None:
            return ""
        fixed = needed.total - needed.activations
        fit = max(0, int((total - fixed) * rows / needed.activations))
        return f"; in the {total / 1e9:.1f} GB here about {fit} rows would fit"

    def update(
        self, step: int, with_ratios: bool = False
    ) -> tuple[Float[Tensor, ""], float, dict[str, float] | None]:
        """Take a step, counted from 1, along the clipped gradient.

        Returns the gradient's norm before clipping, the learning rate, and on request the
        `update_ratios`.
        """
        limit = self.config.optimizer.max_grad_norm
        norm = clip_gradient(self.model.parameters(), math.inf if limit is None else limit)
        multiplier = self.schedule(step - 1, self.steps)
        groups = self.optimizer.param_groups
        for group in groups:
            group["lr"] = group["peak_lr"] * multiplier
        before = [[p.detach().clone() for p in group["params"]] for group in groups if with_ratios]
        self.optimizer.step()
        ratios = update_ratios(groups, before) if with_ratios else None
        return norm, groups[0]["lr"], ratios


def optimizer_for(
    model: nn.Module, config: TrainConfig, optimizer: Optimizer | None, roles: Roles | None
) -> torch.optim.Optimizer:
    """Return the optimizer that is given, or built by the given function, or that config describes.

    Raises:
        ValueError: it does not step the model, or an option would have no effect on it.
    """
    if optimizer is None:
        return build_optimizer(config.optimizer, model, roles)
    built = optimizer if isinstance(optimizer, torch.optim.Optimizer) else optimizer(model)
    if roles is not None:
        raise ValueError("roles have no effect on an optimizer of your own: leave them out")
    if config.optimizer.grokfast_lambda or config.optimizer.orthogonal_gradients:
        raise ValueError(
            "grokfast_lambda and orthogonal_gradients have no effect on an optimizer of your own: "
            "call amplify_slow_gradients or orthogonalise_gradients on it"
        )
    if isinstance(built, torch.optim.LBFGS):
        raise ValueError(
            "LBFGS needs several gradients for a step, and train() computes one: take another "
            "optimizer, or write the loop yourself"
        )
    if not {id(p) for p in parameters_of(built)} <= {id(p) for p in model.parameters()}:
        raise ValueError(
            "the optimizer steps parameters that are not in the model: build it from this model's "
            "parameters"
        )
    return built


@torch.no_grad()
def update_ratios(groups: Sequence[dict], before: Sequence[Sequence[Tensor]]) -> dict[str, float]:
    """Return the length of each group's step over the norm of its parameters before.

    Groups without a name go by their number. A group of zeros has no such ratio and is left out.
    """
    ratios = {}
    for number, (group, old) in enumerate(zip(groups, before, strict=True)):
        steps = [p - was for p, was in zip(group["params"], old, strict=True)]
        if norm := global_norm(old).item():
            ratios[group.get("name", f"group {number}")] = global_norm(steps).item() / norm
    return ratios

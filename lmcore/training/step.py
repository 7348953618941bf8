"""One optimizer step: gradients of a batch in parts, then the update."""

import contextlib
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmcore.model.accounting import TrainingMemory, training_memory
from lmcore.model.flex import document_block_mask
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Batch
from lmcore.training import parallel
from lmcore.training.config import TrainConfig
from lmcore.training.loss import LossKind, linear_cross_entropy
from lmcore.training.optimizer import build_optimizer, clip_gradient, global_norm
from lmcore.training.runtime import Runtime


class BatchLoss(nn.Module):
    """A batch's mean cross-entropy in nats, as a module so that processes can share the work."""

    def __init__(self, model: GPT, runtime: Runtime, kind: LossKind):
        super().__init__()
        self.model, self.runtime, self.kind = model, runtime, kind
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
            has_blocks = self.in_blocks and documents is not None
            block_mask = self.document_block_mask(documents) if has_blocks else None
            features = self.hidden(x, documents, last=last, block_mask=block_mask)
            features = features.flatten(0, 1).to(self.runtime.dtype)
            weight, compiled = self.model.head_weight, self.is_compiled
            return linear_cross_entropy(
                features, weight, y.flatten(), compiled=compiled, kind=self.kind
            )


class Stepper:
    """One optimizer step at a time: a batch in parts, over all processes, then the update."""

    def __init__(self, model: GPT, config: TrainConfig, runtime: Runtime, steps: int):
        self.model, self.config, self.runtime, self.steps = model, config, runtime, steps
        self.optimizer = build_optimizer(config.optimizer, model)
        config.schedule.multiplier(1, steps)  # contradictions show before the first step
        self.parts = runtime.grad_accum_steps
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
        needed = training_memory(
            self.model.config,
            rows * seq,
            moments=self.config.optimizer.moments,
            activation_bytes=self.runtime.dtype.itemsize,
            on_gpu=part.x.is_cuda,
        )
        return MemoryError(
            f"out of memory with {rows} x {seq} tokens at once, which take about "
            f"{needed.total / 1e9:.1f} GB, {needed.activations / rows / 1e9:.2f} GB of them for "
            f"each row; {self._fitting(needed, rows)}: take a smaller batch, or read it in more "
            f"parts with --runtime.grad_accum_steps {2 * self.parts}"
        )

    def _fitting(self, needed: TrainingMemory, rows: int) -> str:
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
        limit = self.config.optimizer.max_grad_norm
        norm = clip_gradient(self.model.parameters(), math.inf if limit is None else limit)
        share = self.config.schedule.multiplier(step, self.steps)
        groups = self.optimizer.param_groups
        for group in groups:
            group["lr"] = group["peak_lr"] * share
        before = [[p.detach().clone() for p in group["params"]] for group in groups if watched]
        self.optimizer.step()
        went = update_ratios(groups, before) if watched else None
        return norm, self.config.optimizer.lr * share, went


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

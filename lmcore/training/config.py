"""What is learned: batches, length, optimizer, schedule and evaluation."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from lmcore.config import check_choices
from lmcore.data.batches import Order
from lmcore.tasks.protocols import Source
from lmcore.training import schedule
from lmcore.training.loss import Kind

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

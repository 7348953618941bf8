"""A training run's config: batches, length and loss, with optimizer, schedule and evaluation."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from lmcore.boundary import convert_fields
from lmcore.data.batches import Order
from lmcore.tasks.protocols import Task
from lmcore.training import schedule
from lmcore.training.loss import LossKind


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Which optimizer steps the weights, and what happens to gradients before it does."""

    kind: Literal["sgd", "adamw", "muon"] = "adamw"
    """SGD, AdamW, or Muon for hidden matrices with AdamW for everything else."""
    lr: float = 1e-3
    """Peak learning rate; the schedule scales it."""
    momentum: float | None = None
    """Momentum of SGD or Muon. None: 0 for SGD, 0.95 for Muon."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the moving means of gradients and of their squares."""
    eps: float = 1e-8
    """Added to the denominator of AdamW's update."""
    weight_decay: float = 0.1
    """Decoupled weight decay; a step shrinks matrices by lr * weight_decay."""
    decay_embeddings: bool = False
    """Also decay embeddings, and with them a tied head. Norms and biases never decay."""
    max_grad_norm: float | None = 1.0
    """Clip gradients to this global L2 norm. None: no clipping."""
    grokfast_lambda: float = 0.0
    """Grokfast-EMA (arXiv 2405.20233): how much of the slow gradient is added. 0: no filter."""
    grokfast_alpha: float = 0.98
    """Grokfast-EMA: decay rate of the moving mean that is the slow gradient."""
    orthogonal_gradients: bool = False
    """Remove from each gradient its component along the weight (arXiv 2501.04697)."""

    def __post_init__(self):
        convert_fields(self)
        require_positive(self, "lr", "max_grad_norm")
        if self.kind == "muon" and self.momentum == 0:
            raise ValueError("muon without momentum orthogonalises noise: set momentum, often 0.95")
        require_effect(self, "kind", momentum=("sgd", "muon"), betas=("adamw", "muon"))
        require_effect(self, "kind", eps=("adamw", "muon"))
        if self.grokfast_lambda == 0 and self.grokfast_alpha != default(self, "grokfast_alpha"):
            raise ValueError(
                f"grokfast_alpha {self.grokfast_alpha} has no effect with grokfast_lambda 0: "
                "leave it out"
            )

    @property
    def effective_momentum(self) -> float:
        """The momentum with None resolved."""
        if self.momentum is None:
            return 0.95 if self.kind == "muon" else 0.0
        return self.momentum

    @property
    def moments(self) -> int:
        """The most numbers that the optimizer stores for a weight."""
        of_optimizer = int(self.effective_momentum > 0) if self.kind == "sgd" else 2
        return of_optimizer + (self.grokfast_lambda > 0)


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the learning rate changes over a run; see `lmcore.training.schedule`."""

    kind: Literal["constant", "cosine", "linear", "wsd", "wsd-linear"] = "cosine"
    """Shape after warmup; wsd holds the peak and then decays (warmup-stable-decay)."""
    warmup_steps: int = 0
    """Optimizer steps over which the learning rate rises linearly from 0."""
    min_lr_ratio: float = 0.0
    """Final learning rate as a fraction of the peak."""
    decay_fraction: float = 0.2
    """wsd: fraction of all steps spent in the final decay."""

    def __post_init__(self):
        convert_fields(self)
        decaying = ("cosine", "linear", "wsd", "wsd-linear")
        require_effect(self, "kind", min_lr_ratio=decaying, decay_fraction=("wsd", "wsd-linear"))

    def multiplier(self, step: int, steps: int) -> float:
        """Return the multiplier of the peak learning rate at a step, counted from 0."""
        return schedule.multiplier(
            self.kind, step, steps, self.warmup_steps, self.min_lr_ratio, self.decay_fraction
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """When scores are taken and recorded, and when they end a run early.

    The validation set is always scored before the first step and after the last.
    """

    eval_at: tuple[int, ...] = ()
    """Steps after which the validation set is scored too."""
    eval_every: int | None = None
    """Score the validation set after every so many steps. None: only at eval_at."""
    log_every: int = 1
    """Record the training loss after every so many steps; a scored step is always recorded."""
    patience: int | None = None
    """Stop after so many evaluations in a row without a better validation loss, and restore the
    best weights. None: never.
    """
    stop_accuracy: float | None = None
    """Stop once validation accuracy is here or above in five evaluations in a row. None: never."""
    keep_weights: bool = False
    """Save the weights of each evaluation next to the checkpoints."""

    def __post_init__(self):
        convert_fields(self)
        require_positive(self, "eval_every", "log_every", "patience", "stop_accuracy")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained. The length is given in epochs, steps or n_tokens."""

    batch_size: int = 64
    """Rows in a step, over all processes and accumulated parts. A task that is not built from this
    config has its own number, which `train` takes.
    """
    order: Order = "shuffled"
    """Order of batches; see `lmcore.data.batches.Batches`."""
    within_documents: bool = False
    """Keep attention from crossing from one document into the next."""
    epochs: int | None = None
    """Length in passes over the training tokens."""
    steps: int | None = None
    """Length in optimizer steps."""
    n_tokens: int | None = None
    """Length in tokens."""
    max_s: float | None = None
    """Stop after so many seconds of training. None: no limit."""
    loss: LossKind = "softmax"
    """Cross-entropy of softmax, computed in float32 or float64, or of StableMax (arXiv
    2501.04697). Scores always use softmax.
    """
    precision: Literal["auto", "float32"] = "auto"
    """float32 where rounding decides what is learned; auto: what `Runtime` chooses."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """Optimizer and gradient processing."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """Learning-rate schedule."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Evaluation, records and early stopping."""

    def __post_init__(self):
        convert_fields(self)
        require_positive(self, "batch_size", "epochs", "steps", "n_tokens", "max_s")
        lengths = {name: getattr(self, name) for name in ("epochs", "steps", "n_tokens")}
        if sum(value is not None for value in lengths.values()) != 1:
            given = ", ".join(f"{name} {value}" for name, value in lengths.items())
            raise ValueError(f"give exactly one of epochs, steps and n_tokens, not {given}")

    def planned_steps(self, task: Task, tokens_per_step: int) -> int:
        """Return the number of optimizer steps on task that the run's length comes to.

        Raises:
            ValueError: it is less than one, or the length is in epochs and task has none.
        """
        if self.epochs is not None:
            per_epoch = task.batches_per_epoch
            if per_epoch is None:
                raise ValueError(
                    "these batches have no epochs: give the length in steps or n_tokens"
                )
            return self.epochs * per_epoch
        if self.steps is not None:
            return self.steps
        assert self.n_tokens is not None, "one of the three lengths is given"
        if self.n_tokens < tokens_per_step:
            raise ValueError(f"n_tokens {self.n_tokens} do not fill a batch of {tokens_per_step}")
        return self.n_tokens // tokens_per_step


def default(config: Any, name: str) -> Any:
    """Return the default of a field of config."""
    return next(f.default for f in fields(config) if f.name == name)


def require_positive(config: Any, *names: str) -> None:
    """Raise ValueError if one of these fields is given and not above 0."""
    for name in names:
        value = getattr(config, name)
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be above 0, not {value}")


def require_effect(config: Any, choice: str, **readers: tuple[str, ...]) -> None:
    """Raise ValueError if a field is set that only other values of the choice read."""
    chosen = getattr(config, choice)
    for name, kinds in readers.items():
        if chosen not in kinds and getattr(config, name) != default(config, name):
            raise ValueError(
                f"{name} {getattr(config, name)} has no effect with {choice} {chosen!r}: "
                "leave it out"
            )

"""What a configuration costs: parameters, floating-point operations and memory, part by part.

Only matrix products are counted, two operations for a multiplication and an addition. The backward
pass costs twice the forward pass. Attention is counted in full, though half of it is masked.
"""

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lmcore.model.config


@dataclass(frozen=True, kw_only=True)
class ModelPart:
    """A part of the model and what it costs."""

    name: str
    """What the part is called in tables."""

    parameters: int
    """Trained numbers."""

    forward_flops: int
    """Operations of its forward pass for one token."""


def model_parts(
    config: "lmcore.model.config.ModelConfig", seq: int | None = None
) -> list[ModelPart]:
    """Return the parts of the model that config describes, for sequences of length seq.

    Without seq, at full context. A head that shares the embedding's numbers has none of its own.
    """
    seq = seq or config.context_length
    c, d = config, config.d_model
    width, kv_width = c.n_heads * c.d_head, c.n_kv * c.d_head
    qkv, out = d * (width + 2 * kv_width), width * d
    bias = width + 2 * kv_width + d if c.bias else 0
    qk_norm = 2 * c.d_head if c.qk_norm else 0
    mlp = d * c.d_up + c.d_hidden * d
    mlp_bias = c.d_up + d if c.bias else 0
    norm = {"layer": d * (1 + c.bias), "rms": d, "none": 0}[c.norm]
    n_norms = c.n_layers * (1 if c.parallel_residual else 2) + (c.norm_at == "pre")
    scales = 2 * d * c.n_layers if c.layer_scale is not None else 0
    positions = c.context_length * d if c.positions == "learned" else 0
    counted = {
        "token embedding": (c.vocab_size * d, 0),
        "position embedding": (positions, 0),
        "attention projections": (
            c.n_layers * (qkv + out + bias + qk_norm),
            c.n_layers * (qkv + out),
        ),
        "attention scores and values": (0, c.n_layers * 2 * seq * width),
        "MLP": (c.n_layers * (mlp + mlp_bias), c.n_layers * mlp),
        "norms and scales": (n_norms * norm + scales, 0),
        "head": (0 if c.tie_embeddings else c.vocab_size * d, c.vocab_size * d),
    }
    return [
        ModelPart(name=name, parameters=numbers, forward_flops=2 * products)
        for name, (numbers, products) in counted.items()
    ]


def n_parameters(config: "lmcore.model.config.ModelConfig") -> int:
    """Return the number of trained numbers; an embedding shared with the head counts once."""
    return sum(part.parameters for part in model_parts(config))


def flops_per_token(config: "lmcore.model.config.ModelConfig", seq: int | None = None) -> int:
    """Return the operations of one training step for a token, forward and backward."""
    return 3 * sum(part.forward_flops for part in model_parts(config, seq))


ROWS_ON_CPU, BYTES_ON_GPU = 1024, 2**31
"""How many logits are in memory at a time: as few as keep all cores of a device busy."""


def logit_rows(n: int, vocab: int, itemsize: int, on_gpu: bool) -> int:
    """Return how many of n rows of logits are computed at a time, in about equal parts."""
    most = max(1, BYTES_ON_GPU // (vocab * itemsize)) if on_gpu else ROWS_ON_CPU
    return math.ceil(n / max(1, math.ceil(n / most)))


@dataclass(frozen=True, kw_only=True)
class TrainingMemory:
    """Bytes that a training step needs at its peak; activations and logits are estimates."""

    weights: int
    """Bytes of the parameters."""

    gradients: int
    """Bytes of their gradients."""

    optimizer: int
    """Bytes of the optimizer's moments."""

    activations: int
    """Bytes of what the forward pass stores for the backward pass."""

    logits: int
    """Bytes of the rows of logits computed at a time."""

    @property
    def total(self) -> int:
        """Bytes of all of them together."""
        return sum(getattr(self, part.name) for part in fields(self))


def training_memory(
    config: "lmcore.model.config.ModelConfig",
    tokens_per_step: int,
    *,
    moments: int,
    activation_bytes: int = 4,
    on_gpu: bool = False,
) -> TrainingMemory:
    """Return the memory of a training step with float32 weights.

    moments is how many numbers the optimizer stores for each weight: none for SGD, two for AdamW.
    Activations are what the backward pass needs: two residual sums of a block in float32 and the
    rest in activation_bytes each, with attention scores in full except on a GPU, which recomputes
    them. Logits are in activation_bytes; a CPU also has them in float32, and their gradient.
    """
    numbers = n_parameters(config)
    c = config
    width, kv_width = c.n_heads * c.d_head, c.n_kv * c.d_head
    scores = 0 if on_gpu else c.n_heads * c.context_length
    per_block = 2 * c.d_model + width + 2 * kv_width + width + c.d_up + c.d_hidden + scores
    per_token = c.n_layers * (2 * 4 * c.d_model + activation_bytes * per_block)
    rows = logit_rows(tokens_per_step, c.vocab_size, activation_bytes, on_gpu)
    per_logit = activation_bytes if on_gpu else 2 * activation_bytes + 4
    return TrainingMemory(
        weights=4 * numbers,
        gradients=4 * numbers,
        optimizer=4 * moments * numbers,
        activations=tokens_per_step * (per_token + 2 * activation_bytes * c.d_model),
        logits=rows * c.vocab_size * per_logit,
    )

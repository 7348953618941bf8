"""What a configuration costs: parameters, floating-point operations and memory, part by part.

Matrix products alone are counted, two operations for a multiplication and an addition; backward
takes twice what forward takes, and attention is counted in full, though half of it is masked.
"""

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the model: its numbers and the operations of its forward pass for one token."""

    name: str
    parameters: int
    forward_flops: int


def parts(config: "lmcore.model.config.ModelConfig", seq: int | None = None) -> list[Part]:
    """Return the parts of the model that config describes, run on sequences of length seq.

    Without seq, at full context. A head that shares the embedding's numbers counts none itself.
    """
    seq = seq or config.context_length
    c, d = config, config.d_model
    width, kv_width = c.n_heads * c.d_head, c.n_kv * c.d_head
    qkv, out = d * (width + 2 * kv_width), width * d
    bias = width + 2 * kv_width + d if c.bias else 0
    qk_norm = 2 * c.d_head if c.qk_norm else 0
    mlp = d * c.d_up + c.d_ff * d
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
        Part(name=name, parameters=numbers, forward_flops=2 * products)
        for name, (numbers, products) in counted.items()
    ]


def n_parameters(config: "lmcore.model.config.ModelConfig") -> int:
    """Return the number of trained numbers, an embedding shared with the head counted once."""
    return sum(part.parameters for part in parts(config))


def flops_per_token(config: "lmcore.model.config.ModelConfig", seq: int | None = None) -> int:
    """Return the operations of one training step for a token, forward and backward."""
    return 3 * sum(part.forward_flops for part in parts(config, seq))


ROWS_ON_CPU, BYTES_ON_GPU = 1024, 2**31
"""How many logits are held at a time: as few as keep all cores of a device busy."""


def logit_rows(n: int, vocab: int, itemsize: int, on_gpu: bool) -> int:
    """Return how many of n rows of logits are held at a time, each time about as many."""
    most = max(1, BYTES_ON_GPU // (vocab * itemsize)) if on_gpu else ROWS_ON_CPU
    return math.ceil(n / max(1, math.ceil(n / most)))


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes that a training step holds at its peak; activations and logits are estimated."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(getattr(self, part.name) for part in fields(self))


def memory(
    config: "lmcore.model.config.ModelConfig",
    tokens_per_step: int,
    *,
    moments: int,
    activation_bytes: int = 4,
    on_gpu: bool = False,
) -> Memory:
    """Return the memory of a training step in float32 with an optimizer that keeps moments.

    SGD keeps none, AdamW two. Of the activations, what the backward pass needs is counted: both
    sums of a block in float32, the rest in activation_bytes each, and the scores of attention in
    full but on a GPU, which makes them anew. Logits are those held at a time, in activation_bytes,
    and beside them what a CPU has of them in float32 and of their gradient.
    """
    numbers = n_parameters(config)
    c = config
    width, kv_width = c.n_heads * c.d_head, c.n_kv * c.d_head
    scores = 0 if on_gpu else c.n_heads * c.context_length
    of_block = 2 * c.d_model + width + 2 * kv_width + width + c.d_up + c.d_ff + scores
    of_token = c.n_layers * (2 * 4 * c.d_model + activation_bytes * of_block)
    rows = logit_rows(tokens_per_step, c.vocab_size, activation_bytes, on_gpu)
    of_logit = activation_bytes if on_gpu else 2 * activation_bytes + 4
    return Memory(
        weights=4 * numbers,
        gradients=4 * numbers,
        optimizer=4 * moments * numbers,
        activations=tokens_per_step * (of_token + 2 * activation_bytes * c.d_model),
        logits=rows * c.vocab_size * of_logit,
    )

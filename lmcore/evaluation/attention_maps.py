"""Where a model's heads attend; and the same weights in a model with a longer context."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmcore.boundary import checked
from lmcore.model.block import Block
from lmcore.model.gpt import GPT
from lmcore.model.heads import share_heads
from lmcore.model.masks import causal_mask
from lmcore.model.norm import at_least_float32


@checked
@torch.no_grad()
def attention_maps(
    model: GPT, ids: Int[Tensor, "batch seq"], documents: Int[Tensor, "batch seq"] | None = None
) -> Float[Tensor, "layers batch heads seq seq"]:
    """Return how much each query, the second last dimension, attends to each key, the last one.

    Raises:
        ValueError: the model is post-norm, which is not supported, or ids do not suit it.
    """
    if ids.ndim != 2:
        raise ValueError(f"ids have shape {tuple(ids.shape)}: give rows, (batch, seq)")
    if model.config.norm_at == "post":
        raise ValueError("attention maps need a pre-norm model: this one has norm_at 'post'")
    model.require_known(ids)
    positions = model.positions(ids, documents)
    mask = model.mask(positions, documents)
    rope_table = model.rope_table(positions)
    visible = causal_mask(ids.shape[1], ids.shape[1], ids.device) if mask is None else mask
    x, maps = model.embed(ids, positions), []
    for block in model.blocks:
        assert isinstance(block, Block)
        q, k, _ = block.attention.project(block.attention_norm(x), rope_table=rope_table)
        k = share_heads(k, block.attention.n_heads // block.attention.n_kv_heads)
        scores = at_least_float32(q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5)
        maps.append(scores.masked_fill(~visible, -torch.inf).softmax(-1))
        x = block(x, mask, rope_table=rope_table)
    return torch.stack(maps)


@checked
def with_context_length(model: GPT, context_length: int) -> GPT:
    """Return a model with the same weights and another context length.

    Raises:
        ValueError: positions are learned, so there are none beyond the model's own context.
    """
    if model.config.positions == "learned":
        raise ValueError(
            f"learned positions end at {model.config.context_length}: "
            f"none were learned up to {context_length}"
        )
    with torch.random.fork_rng(devices=[]):
        longer = GPT(replace(model.config, context_length=context_length))
    longer.load_state_dict(model.state_dict())
    return longer.to(model.head_weight.device).train(model.training)

"""Looks at a trained model: where its heads attend, and the same weights in a longer context."""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmcore.model.attention import causal_mask
from lmcore.model.gpt import GPT


@torch.no_grad()
def attention_maps(
    model: GPT, ids: Int[Tensor, "batch seq"], documents: Int[Tensor, "batch seq"] | None = None
) -> Float[Tensor, "layers batch heads seq seq"]:
    """Return how much each query, the second last dimension, attends to each key.

    Raises:
        ValueError: the model is post-norm, which is not looked into, or ids do not suit it.
    """
    if model.config.norm_at == "post":
        raise ValueError("attention is looked at in pre-norm models: this one has norm_at 'post'")
    view, positions = model.view(ids, documents, None, None)
    mask = causal_mask(ids.shape[1], ids.shape[1], ids.device) if view.mask is None else view.mask
    x, found = model.embedded(ids, positions), []
    for block in model.blocks:
        q, k, _ = block.attention.turned(block.attention_norm(x), view)
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        scores = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).float()
        found.append(scores.masked_fill(~mask, -torch.inf).softmax(-1))
        x = block(x, view)
    return torch.stack(found)


def with_context_length(model: GPT, context_length: int) -> GPT:
    """Return the model with the same weights and another context.

    Raises:
        ValueError: its positions are learned, so there are none beyond those it was trained with.
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

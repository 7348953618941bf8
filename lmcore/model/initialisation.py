"""How a model's weights are drawn."""

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from lmcore.model.block import Block

if TYPE_CHECKING:
    import lmcore.model.gpt


@torch.no_grad()
def initialise(model: "lmcore.model.gpt.GPT") -> None:
    """Draw all weights of a GPT as config.initialisation says; biases are 0, norms stay at 1.

    flat: N(0, 0.02), learned positions zero. gpt2: N(0, 0.02), with the last map of each attention
    and MLP scaled by 1/sqrt(2 n_layers) (Radford et al. 2019). truncated: normal, cut at 3 standard
    deviations, which are 1 for embeddings and sqrt(2/(in + out)) for linear maps (Glorot & Bengio
    2010). zero_residual: as gpt2, but those last maps are zero, so that blocks add nothing at first
    (Zhang et al. 2019, 1901.09321).
    """
    config = model.config
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            if config.initialisation == "truncated":
                draw_truncated(module, fused_rows(blocks).get(module))
            else:
                nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    residual_scales = {"gpt2": (2 * config.n_layers) ** -0.5, "zero_residual": 0.0}
    for block in blocks:
        for last_map in (block.attention.out, block.mlp.down):
            last_map.weight.mul_(residual_scales.get(config.initialisation, 1.0))
    if config.initialisation == "flat" and config.positions == "learned":
        nn.init.zeros_(model.position_embedding.weight)
    if config.initial_scale != 1:
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(config.initial_scale)


def draw_truncated(module: nn.Linear | nn.Embedding, rows: list[int] | None) -> None:
    """Draw a weight from a cut normal distribution; matrices that share it have these rows."""
    for weight in module.weight.split(rows or len(module.weight)):
        std = 1.0 if isinstance(module, nn.Embedding) else math.sqrt(2 / sum(weight.shape))
        nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)


def fused_rows(blocks: list[Block]) -> dict[nn.Module, list[int]]:
    """Return the rows of each matrix in the weights that hold several for one product."""
    rows: dict[nn.Module, list[int]] = {}
    for block in blocks:
        attention, mlp = block.attention, block.mlp
        rows[attention.qkv] = [n * attention.d_head for n in attention.qkv_heads]
        if mlp.activation == "swiglu":
            rows[mlp.up] = [mlp.down.in_features] * 2
    return rows

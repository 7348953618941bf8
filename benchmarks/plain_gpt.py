"""A GPT-2 in plain PyTorch, in the way of nanoGPT: the peer of a training step on a GPU.

One class for each part, torch's own modules inside, nothing tuned: what most people train with.
"""

import torch
import torch.nn.functional as F
from torch import nn

from lmcore.model.config import ModelConfig


class Attention(nn.Module):
    """Causal self-attention, queries, keys and values from one product."""

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, seq, d_model = x.shape
        parts = self.qkv(x).split(d_model, dim=2)
        q, k, v = (y.view(batch, seq, self.n_heads, -1).transpose(1, 2) for y in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).contiguous().view(batch, seq, d_model))


class Block(nn.Module):
    """Attention and MLP, each after a norm and added to the stream."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int):
        super().__init__()
        self.first_norm, self.second_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.attention = Attention(d_model, n_heads)
        self.mlp = nn.Sequential(nn.Linear(d_model, d_ff), nn.GELU(), nn.Linear(d_ff, d_model))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.first_norm(x))
        return x + self.mlp(self.second_norm(x))


class PlainGPT(nn.Module):
    """The decoder; its forward pass returns the loss."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        d_model = config.d_model
        self.tokens = nn.Embedding(config.vocab_size, d_model)
        self.positions = nn.Embedding(config.context_length, d_model)
        self.blocks = nn.ModuleList(
            Block(d_model, config.n_heads, config.d_hidden) for _ in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, config.vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        for p in self.parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

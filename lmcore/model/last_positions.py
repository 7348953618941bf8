"""A faster way to the features of the last positions, for tables that ask only at a row's end.

It equals `Block` and skips what nobody reads. The last block computes queries, and all that follows
from them, at the last positions only. Where a batch has more rows than the vocabulary has tokens,
the first block projects each token once at each position, not once in each row.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmcore.model.attention import Attention
from lmcore.model.block import Block
from lmcore.model.dot_product import attend, needs_plain_code
from lmcore.model.dropout import drop
from lmcore.model.heads import share_heads
from lmcore.model.norm import at_least_float32
from lmcore.model.rope import RopeTable, rotate

if TYPE_CHECKING:
    import lmcore.model.gpt

FEW_KEYS = 8
"""Up to so many keys, the products of one query are faster as sums than as tiny matrices."""


@dataclass(frozen=True)
class DistinctRows:
    """Features many of which are equal: each distinct row once, and the row at each position."""

    rows: Float[Tensor, "rows features"]
    index: Int[Tensor, "batch seq"]


def take_last(x: Tensor | DistinctRows, n: int) -> Float[Tensor, "batch last features"]:
    """Return the features at the last n positions."""
    if isinstance(x, DistinctRows):
        return F.embedding(x.index[:, -n:], x.rows)
    return x[:, -n:]


def block_outputs(
    model: "lmcore.model.gpt.GPT",
    ids: Int[Tensor, "batch seq"],
    positions: Int[Tensor, "*batch seq"],
    mask: Bool[Tensor, "..."] | None,
    rope_table: RopeTable | None,
    last: int,
) -> Float[Tensor, "batch last d_model"]:
    """Return what a GPT's last block puts out at the last positions."""
    dropout = model.config.dropout if model.training else 0.0
    x: Tensor | DistinctRows
    if mask is None and not dropout and len(ids) > model.config.vocab_size:
        x = distinct_rows(model, ids, positions)
    else:
        x = drop(model.embed(ids, positions), dropout)
    *earlier, final = model.blocks
    seq = ids.shape[1]
    for block in earlier:
        x = block_output(block, x, seq, mask, rope_table)
    return block_output(final, x, min(last, seq), mask, rope_table)


def distinct_rows(
    model: "lmcore.model.gpt.GPT", ids: Int[Tensor, "batch seq"], positions: Int[Tensor, "seq"]
) -> DistinctRows:
    """Return the embedded ids, taken from those of each token at each position."""
    vocab_size = model.config.vocab_size
    tokens = torch.arange(vocab_size, device=ids.device).expand(len(positions), -1)
    table = model.embed(tokens, positions[:, None])
    return DistinctRows(table.flatten(0, 1), positions * vocab_size + ids)


def block_output(
    block: nn.Module,
    x: Float[Tensor, "batch seq d_model"] | DistinctRows,
    last: int,
    mask: Bool[Tensor, "..."] | None,
    rope_table: RopeTable | None,
) -> Float[Tensor, "batch last d_model"]:
    """Return what block puts out at the last positions; a block that is not plain is called."""
    if not is_plain(block):
        x = take_last(x, x.index.shape[1]) if isinstance(x, DistinctRows) else x
        return block(x, mask, rope_table=rope_table)[:, -last:]
    if isinstance(x, Tensor) and last == x.shape[1]:
        return block(x, mask, rope_table=rope_table)
    newest = take_last(x, last)
    if block.norm_at == "post":
        attended = attention_output(block.attention, x, last, mask, rope_table)
        newest = block.attention_norm(newest + block.attention_scale(attended))
        return block.mlp_norm(newest + block.mlp_scale(block.mlp(newest)))
    if isinstance(x, DistinctRows):
        normed = DistinctRows(block.attention_norm(x.rows), x.index)
    else:
        normed = block.attention_norm(x)
    attended = attention_output(block.attention, normed, last, mask, rope_table)
    newest = newest + block.attention_scale(attended)
    mlp_input = take_last(normed, last) if block.parallel_residual else block.mlp_norm(newest)
    return newest + block.mlp_scale(block.mlp(mlp_input))


def is_plain(block: nn.Module) -> TypeGuard[Block]:
    """Return whether block is ours, with our attention, and nobody hooks into either."""
    if type(block) is not Block or type(block.attention) is not Attention:
        return False
    return not has_hooks(block) and not has_hooks(block.attention)


def has_hooks(module: nn.Module) -> bool:
    """Return whether a call of module runs anything besides its class's forward function."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return bool(hooks or module._backward_hooks or "forward" in vars(module))


def attention_output(
    attention: Attention,
    x: Float[Tensor, "batch seq d_model"] | DistinctRows,
    last: int,
    mask: Bool[Tensor, "..."] | None,
    rope_table: RopeTable | None,
) -> Float[Tensor, "batch last d_model"]:
    """Return what attention puts out at the last positions."""
    dropout = attention.dropout if attention.training else 0.0
    q, k, v = project(attention, x, last)
    q, k = attention.q_norm(q), attention.k_norm(k)
    if rope_table is not None:
        cos, sin = rope_table
        q, k = rotate(q, cos[..., -last:, :], sin[..., -last:, :]), rotate(k, cos, sin)
    group = attention.n_heads // attention.n_kv_heads
    k, v = share_heads(k, group), share_heads(v, group)
    mask = None if mask is None else mask[..., -last:, :]
    if last == 1 and k.shape[2] <= FEW_KEYS and needs_plain_code(q.device):
        y = attend_to_few_keys(q, k, v, mask, dropout)
    else:
        y = attend(q, k, v, mask, causal=mask is None, dropout=dropout)
    return drop(attention.out(y.transpose(1, 2).flatten(2)), dropout)


def project(
    attention: Attention, x: Float[Tensor, "batch seq d_model"] | DistinctRows, last: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the heads' queries at the last positions, and their keys and values at all."""
    qkv, q_rows = attention.qkv, attention.n_heads * attention.d_head
    sizes = (q_rows, 2 * attention.n_kv_heads * attention.d_head)
    if isinstance(x, DistinctRows):
        q, kv = (DistinctRows(y, x.index) for y in qkv(x.rows).split(sizes, dim=-1))
        q, kv = take_last(q, last), take_last(kv, x.index.shape[1])
    elif type(qkv) is nn.Linear and not has_hooks(qkv):
        q_weight, kv_weight = qkv.weight.split(sizes)
        q_bias, kv_bias = (None, None) if qkv.bias is None else qkv.bias.split(sizes)
        q, kv = F.linear(x[:, -last:], q_weight, q_bias), F.linear(x, kv_weight, kv_bias)
    else:
        q, kv = qkv(x).split(sizes, dim=-1)
        q = q[:, -last:]
    k, v = attention.split_heads(kv).chunk(2, dim=1)
    return attention.split_heads(q), k, v


def attend_to_few_keys(
    q: Float[Tensor, "*batch one d_head"],
    k: Float[Tensor, "*batch k_len d_head"],
    v: Float[Tensor, "*batch k_len d_head"],
    mask: Bool[Tensor, "..."] | None,
    dropout: float,
) -> Float[Tensor, "*batch one d_head"]:
    """Return what `attend` returns for a single query, with sums in place of matrix products."""
    q = q * (1 / math.sqrt(q.shape[-1]))
    scores = at_least_float32((q * k).sum(-1))[..., None, :]
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = drop(scores.softmax(-1).to(v.dtype), dropout)
    return (weights[..., 0, :, None] * v).sum(-2, keepdim=True)

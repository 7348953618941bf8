"""Attention within documents by FlexAttention (Dong et al. 2024, 2412.05496), for GPUs.

A mask hides scores that have already been computed. FlexAttention works in blocks of keys and never
computes a block that no query may attend to.
"""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention


def document_block_mask(documents: Int[Tensor, "batch seq"]) -> BlockMask:
    """Return `document_mask` as blocks: queries attend to the past of their own document."""
    batch, seq = documents.shape
    return create_block_mask(
        lambda row, head, query, key: (
            (key <= query) & (documents[row, key] == documents[row, query])
        ),
        batch, None, seq, seq, device=documents.device,
    )  # fmt: skip


def attend_in_blocks(
    q: Float[Tensor, "batch heads seq d_head"],
    k: Float[Tensor, "batch kv_heads seq d_head"],
    v: Float[Tensor, "batch kv_heads seq d_head"],
    block_mask: BlockMask,
) -> Float[Tensor, "batch heads seq d_head"]:
    """Return softmax(q kᵀ / sqrt(d_head)) v over the keys that block_mask allows.

    Adjacent query heads share a key/value head where there are fewer of those. On a CPU torch has
    no backward pass for it.
    """
    return flex_attention(q, k, v, block_mask=block_mask, enable_gqa=k.shape[1] < q.shape[1])

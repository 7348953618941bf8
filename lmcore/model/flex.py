"""Attention within documents by FlexAttention (Dong et al. 2024, 2412.05496), as GPUs train it.

Keys come in blocks, and one that no query of a block may see is never computed; a mask hides keys
only once their scores are there.
"""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention


def blocks_within(documents: Int[Tensor, "batch seq"]) -> BlockMask:
    """Return which keys each query sees: those up to its own of the same document."""
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
    blocks: BlockMask,
) -> Float[Tensor, "batch heads seq d_head"]:
    """Return softmax(q kᵀ / sqrt(d_head)) v over the keys that blocks let each query see.

    Neighbouring query heads share the heads of keys and values where those are fewer. On a CPU
    torch has no backward pass for it.
    """
    return flex_attention(q, k, v, block_mask=blocks, enable_gqa=k.shape[1] < q.shape[1])

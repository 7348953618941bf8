"""How attention heads split d_model, and how query heads share key/value heads."""

from jaxtyping import Float
from torch import Tensor


def head_sizes(
    d_model: int, n_heads: int, n_kv_heads: int | None = None, d_head: int | None = None
) -> tuple[int, int]:
    """Return the number of key/value heads and the features of a head, with defaults filled in.

    Raises:
        ValueError: the heads do not fit d_model, or the key/value heads the query heads.
    """
    if d_head is None and d_model % n_heads:
        raise ValueError(f"d_model {d_model} does not split into {n_heads} heads")
    d_head = d_model // n_heads if d_head is None else d_head
    n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
    if d_head < 1 or n_kv_heads < 1 or n_heads % n_kv_heads:
        raise ValueError(
            f"{n_heads} heads of {d_head} features cannot share {n_kv_heads} key/value heads"
        )
    return n_kv_heads, d_head


def share_heads(
    x: Float[Tensor, "*batch kv_heads seq d_head"], group: int
) -> Float[Tensor, "*batch heads seq d_head"]:
    """Return each key/value head group times, once for each query head that shares it."""
    return x if group == 1 else x.repeat_interleave(group, -3)

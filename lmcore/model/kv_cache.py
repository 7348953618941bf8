"""Keys and values of tokens that the model has already read."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmcore.model.config import ModelConfig
from lmcore.model.dot_product import attend
from lmcore.model.heads import share_heads
from lmcore.model.rope import RoPE, RopeTable


class KVCache:
    """Keys and values of tokens already read, in memory allocated once for capacity tokens a row.

    Rows may differ in length: a row's next tokens are written after its own last one and replace
    any padding there. No query attends to a key at a later position than its own.
    """

    def __init__(self, config: ModelConfig, batch: int, capacity: int):
        self.shape = (batch, 2 * config.n_kv, capacity, config.d_head)
        self.lengths = [0] * batch
        self.tensors: list[Tensor] = []
        self.table: RopeTable | None = None

    def positions(self, seq: int, device: torch.device) -> Int[Tensor, "*batch seq"]:
        """Return the positions of each row's next seq tokens, one-dimensional if all rows agree.

        Raises:
            ValueError: they go beyond the capacity.
        """
        start, capacity = max(self.lengths), self.shape[2]
        if start + seq > capacity:
            raise ValueError(f"{start + seq} tokens do not fit a cache made for {capacity}")
        if min(self.lengths) == start:
            return torch.arange(start, start + seq, device=device)
        return torch.tensor(self.lengths, device=device)[:, None] + torch.arange(seq, device=device)

    def mask(self, positions: Int[Tensor, "*batch seq"]) -> Bool[Tensor, "..."] | None:
        """Return which keys are in each position's past; None if a causal mask says the same."""
        start, seq = max(self.lengths), positions.shape[-1]
        if positions.ndim == 1 and (seq == 1 or start == 0):
            return None
        past = torch.arange(start + seq, device=positions.device) <= positions[..., None]
        return past if positions.ndim == 1 else past[:, None]

    def rope_table(self, rope: RoPE, positions: Int[Tensor, "*batch seq"]) -> RopeTable:
        """Return rope's table at positions, out of one computed once for the whole capacity."""
        if self.table is None:
            everywhere = torch.arange(self.shape[2], device=positions.device)
            self.table = rope.table(everywhere, self.shape[3])
        cos, sin = (table[positions] for table in self.table)
        return (cos, sin) if positions.ndim == 1 else (cos[:, None], sin[:, None])

    def of_layer(self, layer: int, like: Tensor) -> Float[Tensor, "batch twice_kv capacity d_head"]:
        """Return a layer's keys and then its values, by heads, allocated at first use.

        On a CPU it is float32 (or float64): for one query torch's attention in bfloat16 is three
        times as slow.
        """
        if layer == len(self.tensors):
            is_wide = like.device.type != "cpu" or like.dtype == torch.float64
            dtype = like.dtype if is_wide else torch.float32
            self.tensors.append(like.new_zeros(self.shape, dtype=dtype))
        return self.tensors[layer]

    def extend(
        self,
        layer: int,
        new: Float[Tensor, "batch twice_kv seq d_head"],
        positions: Int[Tensor, "*batch seq"],
    ) -> tuple[Tensor, Tensor]:
        """Store a layer's new keys and values; return all up to the longest row's last."""
        start, seq = max(self.lengths), new.shape[2]
        stored = self.of_layer(layer, new)
        if positions.ndim == 1:
            stored.narrow(2, start, seq).copy_(new)
        else:
            rows = torch.arange(len(new), device=new.device)[:, None]
            stored[rows, :, positions] = new.transpose(1, 2).to(stored.dtype)
        k, v = stored.narrow(2, 0, start + seq).chunk(2, dim=1)
        return k, v

    def advance(self, seq: int) -> None:
        """Count seq more tokens as read in each row."""
        self.lengths = [length + seq for length in self.lengths]

    def replace_rows(self, rows: list[int], other: "KVCache") -> None:
        """Copy all rows of other into these rows, in this order, in place of what they held."""
        for layer, new in enumerate(other.tensors):
            self.of_layer(layer, new)[rows, :, : new.shape[2]] = new
        for row, length in zip(rows, other.lengths, strict=True):
            self.lengths[row] = length

    def select_rows(self, rows: list[int]) -> None:
        """Drop all rows except these, which are renumbered in this order."""
        self.shape = (len(rows), *self.shape[1:])
        self.lengths = [self.lengths[row] for row in rows]
        self.tensors = [stored[rows] for stored in self.tensors]


@dataclass(frozen=True)
class LayerCache:
    """One layer's part of a cache, as `Attention` uses it for the tokens at positions."""

    cache: KVCache
    layer: int
    positions: Int[Tensor, "*batch seq"]

    def extend(self, new: Float[Tensor, "batch twice_kv seq d_head"]) -> tuple[Tensor, Tensor]:
        """Store new keys and then values; return all keys and values stored so far."""
        return self.cache.extend(self.layer, new, self.positions)

    def attend(
        self,
        q: Float[Tensor, "batch heads seq d_head"],
        k: Float[Tensor, "batch kv_heads seq d_head"],
        v: Float[Tensor, "batch kv_heads seq d_head"],
        mask: Bool[Tensor, "..."] | None = None,
        dropout: float = 0.0,
    ) -> Float[Tensor, "batch heads seq d_head"]:
        """Store k and v; return what q reads from all keys and values stored so far."""
        k, v = self.extend(torch.cat((k, v), dim=1))
        group, query = q.shape[1] // k.shape[1], q.to(k.dtype)
        if q.shape[2] == 1:  # heads that share keys become queries of one head: no key is copied
            query = query.unflatten(1, (-1, group)).flatten(2, 3)
            y = attend(query, k, v, mask, dropout=dropout).reshape(q.shape)
        else:
            k, v = share_heads(k, group), share_heads(v, group)
            y = attend(query, k, v, mask, causal=mask is None, dropout=dropout)
        return y.to(q.dtype)

"""Keys and values of tokens already read."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmcore.model.config import ModelConfig

Rotation = tuple[Tensor, Tensor]


class Cache:
    """Keys and values of tokens already read, in memory taken once for capacity tokens a row.

    Rows may differ in length: a row's next tokens are written after its own last one, over
    whatever padding stood there, and no query sees a key at a later position than its own.
    """

    def __init__(self, config: ModelConfig, batch: int, capacity: int):
        self.shape = (batch, 2 * config.n_kv, capacity, config.d_head)
        self.lengths = [0] * batch
        self.kept: list[Tensor] = []
        self.table: Rotation | None = None

    def positions(self, seq: int, device: torch.device) -> Int[Tensor, "*batch seq"]:
        """Return where each row's next seq tokens stand; rows of one length share one answer.

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
        """Return which keys are in the past of each of positions, or nothing where all are."""
        start, seq = max(self.lengths), positions.shape[-1]
        if positions.ndim == 1 and (seq == 1 or start == 0):
            return None
        seen = torch.arange(start + seq, device=positions.device) <= positions[..., None]
        return seen if positions.ndim == 1 else seen[:, None]

    def rotation(
        self, table: Callable[[Tensor], Rotation], positions: Int[Tensor, "*batch seq"]
    ) -> Rotation:
        """Return RoPE's table at positions; it is made once, for the whole capacity."""
        if self.table is None:
            self.table = table(torch.arange(self.shape[2], device=positions.device))
        cos, sin = (each[positions] for each in self.table)
        return (cos, sin) if positions.ndim == 1 else (cos[:, None], sin[:, None])

    def of_layer(self, layer: int, like: Tensor) -> Float[Tensor, "batch twice_kv capacity d_head"]:
        """Return a layer's keys and then values, by heads; their memory is taken at first use.

        On a CPU it is float32: for one query torch's attention in bfloat16 is three times as slow.
        """
        if layer == len(self.kept):
            dtype = torch.float32 if like.device.type == "cpu" else like.dtype
            self.kept.append(like.new_zeros(self.shape, dtype=dtype))
        return self.kept[layer]

    def extend(
        self, layer: int, new: Float[Tensor, "batch twice_kv seq d_head"], places: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Keep a layer's new keys and values; return all of them up to the longest row's last.

        Places are needed where rows differ in length.
        """
        start, seq = max(self.lengths), new.shape[2]
        kept = self.of_layer(layer, new)
        if places is None:
            kept.narrow(2, start, seq).copy_(new)
        else:
            rows = torch.arange(len(new), device=new.device)[:, None]
            kept[rows, :, places] = new.transpose(1, 2).to(kept.dtype)
        return kept.narrow(2, 0, start + seq).chunk(2, dim=1)

    def advance(self, seq: int) -> None:
        """Count seq more tokens as read in each row."""
        self.lengths = [length + seq for length in self.lengths]

    def put(self, rows: list[int], other: "Cache") -> None:
        """Let rows have read what the rows of other have, in this order, and nothing else."""
        for layer, new in enumerate(other.kept):
            self.of_layer(layer, new)[rows, :, : new.shape[2]] = new
        for row, length in zip(rows, other.lengths, strict=True):
            self.lengths[row] = length

    def keep(self, rows: list[int]) -> None:
        """Forget all rows but these, which are numbered anew in this order."""
        self.shape = (len(rows), *self.shape[1:])
        self.lengths = [self.lengths[row] for row in rows]
        self.kept = [kept[rows] for kept in self.kept]

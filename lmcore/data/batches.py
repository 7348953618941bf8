"""Batches of token streams, in four orders, and the walk that scores each token once."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lmcore.data.token_files import Tokens

Order = Literal["sequential", "uniform", "shuffled", "documents"]
Batch = tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]


class Batches:
    """Batches by step: number k is a function of the tokens, the order and the seed alone.

    So a step is all that has to be saved to go on. Orders: sequential walks through the tokens;
    uniform draws each row's start from all that are possible, with replacement; shuffled takes
    each window of context_length once an epoch; documents puts whole documents end to end in an
    order of its own for each epoch and walks through them. An epoch leaves out what does not fill
    a batch. Memory is 8 bytes for each window that is shuffled, 24 for each document.
    """

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        context_length: int,
        order: Order = "sequential",
        seed: int = 0,
    ):
        if order not in get_args(Order):
            raise ValueError(f"order is {order!r}: take one of {', '.join(get_args(Order))}")
        self.tokens, self.order, self.seed = tokens, order, seed
        self.batch_size, self.context_length = batch_size, context_length
        self.steps_per_epoch: int | None = None
        if order != "uniform":
            self.steps_per_epoch = batches_per_epoch(len(tokens.ids), batch_size, context_length)
        elif len(tokens.ids) <= context_length:
            raise ValueError(
                f"{len(tokens.ids)} tokens are not more than context_length {context_length}"
            )
        self._shuffled: tuple = (None,)

    def positions(self, step: int) -> Int[np.ndarray, "batch span"]:
        """Return the places in the tokens that batch number step reads."""
        if self.order == "uniform":
            rng = np.random.default_rng([self.seed, step])
            starts = rng.integers(len(self.tokens.ids) - self.context_length, size=self.batch_size)
            return starts[:, None] + np.arange(self.context_length + 1)
        epoch, index = divmod(step, self.steps_per_epoch)
        windows = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        if self.order == "shuffled":
            windows = self._windows(epoch)[windows]
        places = window_positions(windows, self.context_length)
        return self._in_documents(epoch, places) if self.order == "documents" else places

    def batch(self, step: int) -> Batch:
        """Return (x, y) number step, from 0 on; y is x one token later."""
        return take(self.tokens.ids, self.positions(step))

    def documents(self, step: int) -> Int[Tensor, "batch seq"]:
        """Return for each token of x in batch number step the document of the token after it.

        So what ends a document is read as the first token of the next, which it is to foretell.
        """
        return documents_at(self.tokens, self.positions(step)[:, 1:])

    def _windows(self, epoch: int) -> np.ndarray:
        """Return the epoch's order of windows; the last one asked for is kept."""
        if self._shuffled[0] != epoch:
            n_windows = (len(self.tokens.ids) - 1) // self.context_length
            rng = np.random.default_rng([self.seed, epoch])
            self._shuffled = epoch, rng.permutation(n_windows)
        return self._shuffled[1]

    def _in_documents(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Return where in the tokens the places of the epoch's order of documents are."""
        if self._shuffled[0] != epoch:
            begins = self.tokens.documents
            lengths = np.diff(begins, append=len(self.tokens.ids))
            order = np.random.default_rng([self.seed, epoch]).permutation(len(begins))
            ends = np.cumsum(lengths[order])
            self._shuffled = epoch, ends, begins[order] + lengths[order] - ends
        _, ends, shifts = self._shuffled
        return places + shifts[np.searchsorted(ends, places, side="right")]


def documents_at(
    tokens: Tokens, places: Int[np.ndarray, "*batch seq"]
) -> Int[Tensor, "*batch seq"]:
    """Return the number of the document that stands at each of places in tokens."""
    return torch.from_numpy(np.searchsorted(tokens.documents, places, side="right") - 1)


def window_positions(
    windows: Int[np.ndarray, "batch"], context_length: int
) -> Int[np.ndarray, "batch span"]:
    """Return the places that windows by number read, the target after the last input included."""
    return windows[:, None] * context_length + np.arange(context_length + 1)


def take(ids: np.ndarray, positions: Int[np.ndarray, "batch span"]) -> Batch:
    """Return (x, y) of ids at positions; y is x one place later. Nothing else is copied."""
    rows = torch.from_numpy(ids[positions].astype(np.int64))
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def batches_per_epoch(n_tokens: int, batch_size: int, context_length: int) -> int:
    """Return how many whole batches n_tokens fill, each token a target at most once.

    Raises:
        ValueError: not even one.
    """
    n = (n_tokens - 1) // (batch_size * context_length)
    if n < 1:
        raise ValueError(
            f"{n_tokens} tokens do not fill one batch of {batch_size} x {context_length}: "
            "take more text or a smaller batch_size"
        )
    return n


def to_device(batch: Sequence[Tensor], device: str | torch.device) -> list[Tensor]:
    """Return the tensors of batch on device; to a GPU they go pinned, while the CPU goes on.

    Raises:
        ValueError: torch knows or sees no such device.
    """
    try:
        device = torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}: take cpu or cuda") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device {device} was asked for, but torch sees no GPU here")
        pinned = (t.pin_memory() if t.device.type == "cpu" else t for t in batch)
        return [tensor.to(device, non_blocking=True) for tensor in pinned]
    return [tensor.to(device) for tensor in batch]


def scoring_windows(
    ids: np.ndarray, context_length: int, rows: int, start_id: int
) -> Iterator[tuple[Int[Tensor, "rows seq"], Int[Tensor, "rows seq"]]]:
    """Yield (x, y) so that each token of ids is a target exactly once, the first after start_id.

    Windows do not overlap; all but the last are full, and the last is as short as the rest is.
    """
    whole = len(ids) // context_length * context_length
    cuts = [*range(0, whole, rows * context_length), whole]
    for start, stop in [*pairwise(cuts), *([(whole, len(ids))] if whole < len(ids) else [])]:
        y = torch.from_numpy(ids[start:stop].astype(np.int64))
        before = int(ids[start - 1]) if start else start_id
        x = torch.cat([torch.tensor([before]), y[:-1]])
        width = min(context_length, stop - start)
        yield x.view(-1, width), y.view(-1, width)

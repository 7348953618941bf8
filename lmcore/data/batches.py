"""Batches of a stream of token ids in four orders, and windows that score each token once."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int, Integer
from torch import Tensor

from lmcore.boundary import Natural, checked
from lmcore.data.token_files import Tokens

Order = Literal["sequential", "uniform", "shuffled", "documents"]
Ids = Tokens | np.ndarray | Tensor | Iterable[int]
"""Tokens of a file, or ids in an array, a tensor, a list or an iterator, which is read at once."""
InputsTargets = tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]


class Batches:
    """Batches by step: each depends on the ids, the order, the seed and its number alone.

    So the step is all that has to be saved to resume. The order "sequential" walks through the ids,
    "uniform" draws the start of each row with replacement, "shuffled" takes each window of
    context_length once an epoch, and "documents" walks through whole documents in a new order each
    epoch. The last incomplete batch of an epoch is left out. Memory is 8 bytes for each shuffled
    window, and 24 for each shuffled document. Ids that are not Tokens count as one document.

    Raises:
        ValueError: the ids are no ids, or too few for one batch.
    """

    @checked
    def __init__(
        self,
        ids: Ids,
        batch_size: int,
        context_length: int,
        order: Order = "sequential",
        seed: Natural = 0,
    ):
        require_positive(batch_size=batch_size, context_length=context_length)
        self.ids = ids.ids if isinstance(ids, Tokens) else as_ids(ids)
        self.info = ids.info if isinstance(ids, Tokens) else None
        self.document_starts = ids.documents if isinstance(ids, Tokens) else np.array([0])
        self.batch_size, self.context_length = batch_size, context_length
        self.order, self.seed = order, seed
        self.steps_per_epoch: int | None = None
        if order == "uniform":
            require_longer(len(self.ids), context_length)
        else:
            self.steps_per_epoch = batches_per_epoch(len(self.ids), batch_size, context_length)
        self._shuffled: tuple = (None,)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the batches; ids that are not of a token file count by the first batch."""
        sha256 = self.info.sha256 if self.info else None
        return {
            "order": self.order,
            "seed": self.seed,
            "context_length": self.context_length,
            "n_tokens": len(self.ids),
            "ids": sha256 or hashlib.sha256(self.batch(0)[0].numpy().data).hexdigest(),
        }

    def positions(self, step: int) -> Int[np.ndarray, "batch span"]:
        """Return the places of the ids in batch number step."""
        if self.order == "uniform":
            rng = np.random.default_rng([self.seed, step])
            starts = rng.integers(len(self.ids) - self.context_length, size=self.batch_size)
            return starts[:, None] + np.arange(self.context_length + 1)
        assert self.steps_per_epoch is not None, "only uniform batches have no epochs"
        epoch, index = divmod(step, self.steps_per_epoch)
        windows = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        if self.order == "shuffled":
            windows = self._windows(epoch)[windows]
        places = window_positions(windows, self.context_length)
        return self._in_documents(epoch, places) if self.order == "documents" else places

    def batch(self, step: int) -> InputsTargets:
        """Return (x, y) of batch number step, from 0 on; y is x one token later."""
        return take(self.ids, self.positions(step))

    def documents(self, step: int) -> Int[Tensor, "batch seq"]:
        """Return the number of the document of each target in batch number step.

        So the token that ends a document counts as the first input of the next one, where the
        model predicts the first token of that document from it.
        """
        return document_numbers(self.document_starts, self.positions(step)[:, 1:])

    def _windows(self, epoch: int) -> np.ndarray:
        """Return the epoch's order of windows; the latest one is kept."""
        if self._shuffled[0] != epoch:
            n_windows = (len(self.ids) - 1) // self.context_length
            rng = np.random.default_rng([self.seed, epoch])
            self._shuffled = epoch, rng.permutation(n_windows)
        return self._shuffled[1]

    def _in_documents(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Return the places in the ids for places in the epoch's order of documents."""
        if self._shuffled[0] != epoch:
            starts = self.document_starts
            lengths = np.diff(starts, append=len(self.ids))
            order = np.random.default_rng([self.seed, epoch]).permutation(len(starts))
            ends = np.cumsum(lengths[order])
            self._shuffled = epoch, ends, starts[order] + lengths[order] - ends
        _, ends, shifts = self._shuffled
        return places + shifts[np.searchsorted(ends, places, side="right")]


@checked
def get_batch(
    ids: np.ndarray | Tensor | Sequence[int],
    batch_size: int,
    context_length: int,
    device: str | torch.device = "cpu",
    generator: torch.Generator | None = None,
) -> InputsTargets:
    """Return (x, y) on device with uniformly drawn starts; y is x one token later.

    Each of the len(ids) - context_length starts is equally likely, with replacement. Starts come
    from generator, or else from torch's global one.

    Raises:
        ValueError: the ids are no ids or too few, or torch does not have the device here.
    """
    require_positive(batch_size=batch_size, context_length=context_length)
    array = as_array(ids)
    require_longer(len(array), context_length)
    starts = torch.randint(len(array) - context_length, (batch_size, 1), generator=generator)
    rows = array[starts.numpy() + np.arange(context_length + 1)]
    require_not_negative(rows)
    x, y = to_device(take(rows.ravel(), np.arange(rows.size).reshape(rows.shape)), device)
    return x, y


# Ids


def as_array(ids: np.ndarray | Tensor | Iterable[int]) -> Integer[np.ndarray, "n"]:
    """Return ids as an array, which is theirs where they are in one.

    Raises:
        ValueError: they are not integers in one dimension.
    """
    if isinstance(ids, Tensor):
        array = ids.numpy(force=True)
    elif isinstance(ids, np.ndarray):
        array = ids
    else:
        values = list(ids)
        try:
            array = np.array(values) if values else np.empty(0, dtype=np.int64)
        except ValueError:
            raise ValueError("ids are lists of different lengths: give one flat list") from None
    if array.ndim != 1:
        raise ValueError(f"ids have shape {array.shape}: give one dimension")
    if array.dtype.kind not in "iu":
        raise ValueError(f"ids are of type {array.dtype}: token ids are integers")
    return array


def as_ids(ids: np.ndarray | Tensor | Iterable[int]) -> Integer[np.ndarray, "n"]:
    """Return `as_array` of ids, none of them negative.

    Raises:
        ValueError: they are not integers in one dimension, or one is negative.
    """
    array = as_array(ids)
    require_not_negative(array)
    return array


def require_not_negative(ids: Integer[np.ndarray, "*shape"]) -> None:
    """Raise ValueError if an id is negative."""
    if ids.dtype.kind == "i" and ids.size and ids.min() < 0:
        raise ValueError(f"id {ids.min()} is negative: token ids count from 0")


def require_longer(n_tokens: int, context_length: int) -> None:
    """Raise ValueError if n_tokens are too few for context_length inputs and the last target."""
    if n_tokens <= context_length:
        raise ValueError(
            f"{n_tokens} tokens are not more than context_length {context_length}: "
            "take more text or a smaller context_length"
        )


def require_positive(**sizes: int) -> None:
    """Raise ValueError if one of sizes is less than 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")


# Positions


def documents_at(
    tokens: Tokens, places: Int[np.ndarray, "*batch seq"]
) -> Int[Tensor, "*batch seq"]:
    """Return the number of the document at each of places in tokens."""
    return document_numbers(tokens.documents, places)


def document_numbers(
    starts: Int[np.ndarray, "documents"], places: Int[np.ndarray, "*batch seq"]
) -> Int[Tensor, "*batch seq"]:
    """Return the number of the document at each of places, given where documents start."""
    return torch.from_numpy(np.searchsorted(starts, places, side="right") - 1)


def window_positions(
    windows: Int[np.ndarray, "batch"], context_length: int
) -> Int[np.ndarray, "batch span"]:
    """Return the places of windows, given by number, with the target after the last input."""
    return windows[:, None] * context_length + np.arange(context_length + 1)


def take(ids: np.ndarray, positions: Int[np.ndarray, "batch span"]) -> InputsTargets:
    """Return (x, y) of ids at positions; y is x one place later. Only these ids are copied."""
    rows = torch.from_numpy(ids[positions].astype(np.int64))
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def batches_per_epoch(n_tokens: int, batch_size: int, context_length: int) -> int:
    """Return how many whole batches n_tokens fill, each token a target at most once.

    Raises:
        ValueError: they fill none.
    """
    n = (n_tokens - 1) // (batch_size * context_length)
    if n < 1:
        raise ValueError(
            f"{n_tokens} tokens do not fill one batch of {batch_size} x {context_length}: "
            "take more text or a smaller batch_size"
        )
    return n


def scoring_windows(
    ids: np.ndarray, context_length: int, rows: int, start_id: int
) -> Iterator[tuple[Int[Tensor, "rows seq"], Int[Tensor, "rows seq"]]]:
    """Yield (x, y) so that each token of ids is a target exactly once, the first after start_id.

    Windows do not overlap. All are full but the last, which has the remaining tokens.
    """
    whole = len(ids) // context_length * context_length
    cuts = [*range(0, whole, rows * context_length), whole]
    for start, stop in [*pairwise(cuts), *([(whole, len(ids))] if whole < len(ids) else [])]:
        y = torch.from_numpy(ids[start:stop].astype(np.int64))
        before = int(ids[start - 1]) if start else start_id
        x = torch.cat([torch.tensor([before]), y[:-1]])
        width = min(context_length, stop - start)
        yield x.view(-1, width), y.view(-1, width)


# Devices


def available_device(name: str | torch.device) -> torch.device:
    """Return the torch device of this name.

    Raises:
        ValueError: torch does not know it, or does not have it here.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}: take cpu, cuda or mps") from None
    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError):
        raise ValueError(f"device {device} is not available to torch here: take cpu") from None
    return device


def to_device(batch: Sequence[Tensor], device: str | torch.device) -> list[Tensor]:
    """Return the tensors of batch on device. Copies to a GPU are pinned and do not block.

    Raises:
        ValueError: torch does not know the device, or does not have it here.
    """
    device = available_device(device)
    if device.type != "cuda":
        return [tensor.to(device) for tensor in batch]
    pinned = (tensor.pin_memory() if tensor.device.type == "cpu" else tensor for tensor in batch)
    return [tensor.to(device, non_blocking=True) for tensor in pinned]

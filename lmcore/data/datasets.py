"""Batches of a torch Dataset, of a DataLoader, or of any iterable of batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lmcore.boundary import Natural, checked
from lmcore.data.batches import InputsTargets, require_positive

RowOrder = Literal["sequential", "shuffled"]


class DatasetBatches:
    """Batches by step of the rows of a map-style Dataset, shuffled for each epoch or in order.

    A row is a pair (x, y) of ids, or one sequence of ids, whose targets are the ids one place
    later. Targets of -100 are padding. The last batch of an epoch is filled with the first rows of
    the next one, so each epoch reads each row once.

    Raises:
        ValueError: the dataset has no rows, or none that can be read by number.
    """

    @checked
    def __init__(
        self,
        dataset: Dataset | Sized,
        batch_size: int,
        order: RowOrder = "shuffled",
        seed: Natural = 0,
    ):
        if not isinstance(dataset, Sized):
            raise ValueError(
                f"{type(dataset).__name__} has no length, so its rows cannot be read by number: "
                "give a DataLoader of it to IterableBatches"
            )
        if not len(dataset):
            raise ValueError(f"{type(dataset).__name__} has no rows")
        require_positive(batch_size=batch_size)
        self.dataset, self.n_rows = cast(Sequence, dataset), len(dataset)
        self.batch_size, self.order, self.seed = batch_size, order, seed

    @property
    def facts(self) -> dict[str, Any]:
        """What decides the batches, as far as the dataset can be told from another one."""
        return {"order": self.order, "seed": self.seed, "n_rows": self.n_rows}

    @property
    def steps_per_epoch(self) -> int:
        """Batches that begin in one epoch."""
        return -(-self.n_rows // self.batch_size)

    def batch(self, step: int) -> InputsTargets:
        """Return (x, y) of batch number step, from 0 on.

        Raises:
            ValueError: a row has no ids, or rows differ in length.
        """
        first = step * self.batch_size
        epochs = range(first // self.n_rows, (first + self.batch_size - 1) // self.n_rows + 1)
        walk = np.concatenate([self._order_of(epoch) for epoch in epochs])[first % self.n_rows :]
        rows = [inputs_targets(self.dataset[int(i)], 1) for i in walk[: self.batch_size]]
        lengths = sorted({len(ids) for row in rows for ids in row})
        if len(lengths) > 1:
            raise ValueError(
                f"batch {step} has rows of {lengths[0]} and of {lengths[-1]} ids: pad them to one "
                "length, with targets of -100"
            )
        x, y = zip(*rows, strict=True)
        return torch.stack(x), torch.stack(y)

    def _order_of(self, epoch: int) -> np.ndarray:
        if self.order == "sequential":
            return np.arange(self.n_rows)
        return np.random.default_rng([self.seed, epoch]).permutation(self.n_rows)


class IterableBatches:
    """Batches by step of an iterable of batches, such as a DataLoader or a list.

    A batch is a pair (x, y) of ids, or one array of ids, whose targets are the ids one place later.
    The iterable is read again after its end. So instead of an iterator, which can be read once,
    give the function that returns one. A resumed run skips the batches before its step, and equals
    an uninterrupted one only if the iterable gives the same batches each time.
    """

    @checked
    def __init__(self, batches: Iterable | Callable[[], Iterable]):
        self._start: Any = batches if callable(batches) else lambda: batches
        self._can_restart = callable(batches) or iter(batches) is not batches
        self.steps_per_epoch = length_of(batches)
        self._walk, self._step = self._endless(), -1
        self._latest: InputsTargets | None = None

    def batch(self, step: int) -> InputsTargets:
        """Return (x, y) of batch number step, from 0 on.

        Raises:
            ValueError: a batch has no ids, or the iterator has ended or is past this step.
        """
        if step < self._step:
            if not self._can_restart:
                raise ValueError(f"the iterator is past batch {step}: {REPEATABLE}")
            self._walk, self._step = self._endless(), -1
        while self._latest is None or self._step < step:
            self._latest = inputs_targets(next(self._walk), 2)
            self._step += 1
        return self._latest

    def _endless(self) -> Iterator[Any]:
        n_before, n = -1, 0
        while n > n_before:
            n_before = n
            for batch in self._start():
                n += 1
                yield batch
        raise ValueError(f"the iterator has ended after {n} batches: {REPEATABLE}")


def length_of(batches: Any) -> int | None:
    """Return how many batches there are, None if they are not counted."""
    try:
        return len(batches)
    except TypeError:  # no length, or a DataLoader of an IterableDataset
        return None


REPEATABLE = "give a list, a DataLoader, or the function that returns the iterator"


def inputs_targets(ids: Any, n_dims: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets with n_dims dimensions from a pair of both or from ids alone.

    Raises:
        ValueError: they are not integers in n_dims dimensions, or an input is negative.
    """
    parts = list(ids) if isinstance(ids, tuple | list) and np.ndim(ids[0]) else [ids]
    x, *rest = (torch.as_tensor(part) for part in parts)
    x, y = (x, rest[0]) if rest else (x[..., :-1], x[..., 1:])
    for part in (x, y):
        if part.ndim != n_dims or part.is_floating_point() or part.dtype == torch.bool:
            raise ValueError(
                f"ids have shape {tuple(part.shape)} and type {part.dtype}: give integers in "
                f"{n_dims} dimensions"
            )
    if x.numel() and x.min() < 0:
        raise ValueError(
            f"input id {x.min()} is negative: pad inputs with a token, and targets with -100"
        )
    return x.long(), y.long()

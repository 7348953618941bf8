"""Batches of torch datasets and of iterables: each row once an epoch, any step at any time."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lmcore.data.datasets import DatasetBatches, IterableBatches


def rows(n, length=4):
    """Return n rows of ids, none of them twice."""
    return torch.arange(n * length).view(n, length)


@pytest.mark.parametrize("order", ["sequential", "shuffled"])
@given(n=st.integers(1, 12), batch_size=st.integers(1, 20), n_epochs=st.integers(1, 3))
def test_each_epoch_reads_each_row_once_whatever_the_batch(order, n, batch_size, n_epochs):
    data = TensorDataset(rows(n)[:, :-1], rows(n)[:, 1:])
    batches = DatasetBatches(data, batch_size, order)
    n_steps = -(-n * n_epochs // batch_size)
    x = torch.cat([batches.batch(step)[0] for step in range(n_steps)])[: n * n_epochs]
    for epoch in x.split(n):
        assert sorted(epoch[:, 0].tolist()) == list(range(0, 4 * n, 4))
    assert order == "shuffled" or torch.equal(x[:n], rows(n)[:, :-1])


@given(step=st.integers(0, 20), other=st.integers(0, 20))
def test_a_batch_of_a_dataset_depends_on_nothing_but_its_number(step, other):
    data = TensorDataset(rows(7))
    batches = DatasetBatches(data, 3)
    batches.batch(other)
    expected = DatasetBatches(data, 3).batch(step)
    assert all(map(torch.equal, batches.batch(step), expected))


@pytest.mark.parametrize(
    "data",
    [
        TensorDataset(rows(3)[:, :-1], rows(3)[:, 1:]),
        TensorDataset(rows(3)),
        rows(3).tolist(),
        rows(3).numpy(),
        [(row[:-1], row[1:]) for row in rows(3).tolist()],
    ],
    ids=["pairs", "rows", "lists", "arrays", "pairs of lists"],
)
def test_a_row_is_a_pair_or_ids_with_the_targets_one_place_later(data):
    x, y = DatasetBatches(data, 3, "sequential").batch(0)
    assert (x.dtype, y.dtype) == (torch.int64, torch.int64)
    assert torch.equal(x, rows(3)[:, :-1])
    assert torch.equal(y, rows(3)[:, 1:])


def test_two_ids_are_a_row_and_not_a_pair():
    x, y = DatasetBatches([[5, 6], [7, 8]], 2, "sequential").batch(0)
    assert (x.tolist(), y.tolist()) == ([[5], [7]], [[6], [8]])


class Stream(IterableDataset):
    """Ten rows that can only be read one after the other."""

    def __iter__(self):
        return iter(rows(10))


ITERABLES = {
    "a list": lambda: list(rows(10).split(3)),
    "a function": lambda: lambda: iter(rows(10).split(3)),
    "a loader": lambda: DataLoader(TensorDataset(rows(10)), 3),
    "a loader of pairs": lambda: DataLoader(TensorDataset(rows(10)[:, :-1], rows(10)[:, 1:]), 3),
    "a loader of a stream": lambda: DataLoader(Stream(), 3),
}


@pytest.mark.parametrize("kind", ITERABLES)
@given(steps=st.lists(st.integers(0, 9), max_size=4))
def test_an_iterable_gives_its_batch_at_any_step_and_begins_again_at_its_end(kind, steps):
    batches = IterableBatches(ITERABLES[kind]())
    parts = rows(10).split(3)
    for step in steps:
        x, y = batches.batch(step)
        assert torch.equal(x, parts[step % 4][:, :-1])
        assert torch.equal(y, parts[step % 4][:, 1:])


def test_an_epoch_of_an_iterable_is_counted_where_it_has_a_length():
    lengths = {kind: IterableBatches(make()).steps_per_epoch for kind, make in ITERABLES.items()}
    assert lengths["a list"] == lengths["a loader"] == 4
    assert lengths["a function"] is None


def test_an_endless_iterator_is_read_no_further_than_the_step():
    read = []
    endless = (read.append(n) or rows(2) + n for n in itertools.count())
    batches = IterableBatches(endless)
    assert [batches.batch(step)[0][0, 0].item() for step in (0, 1, 1, 5)] == [0, 1, 1, 5]
    assert read == list(range(6))


@pytest.mark.parametrize(("steps", "says"), [([3], "ended after 3"), ([2, 0], "is past batch 0")])
def test_an_iterator_that_cannot_be_read_again_is_an_error_with_a_way_out(steps, says):
    batches = IterableBatches(iter(rows(6).split(2)))
    with pytest.raises(ValueError, match=f"{says}.*the function that returns the iterator"):
        list(map(batches.batch, steps))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (TensorDataset(torch.zeros(3, 4)), "type torch.float32: give integers in 1 dim"),
        (TensorDataset(torch.zeros(3, 2, 4, dtype=int)), r"shape \(2, 3\).* in 1 dimensions"),
        (TensorDataset(-rows(3)), "input id -[0-9]+ is negative: pad inputs"),
        ([[1, 2, 3], [1, 2]], "rows of 1 and of 2 ids: pad them"),
        ([], "list has no rows"),
        (Stream(), "Stream has no length.*IterableBatches"),
    ],
    ids=["fractions", "dimensions", "negative", "lengths", "empty", "stream"],
)
def test_a_dataset_without_rows_of_ids_is_one_line_that_says_why(data, says):
    with pytest.raises(ValueError, match=says) as caught:
        DatasetBatches(data, 2, "sequential").batch(0)
    assert "\n" not in str(caught.value)

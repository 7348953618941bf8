"""Examples for the documentation: batches of one's own data, without a token file."""

import math

import pytest
import torch

from lmcore import Batches, DatasetBatches, IterableBatches, get_batch


def test_batches_of_a_list_or_an_array_of_ids():
    # docs: start own-ids
    import numpy as np

    from lmcore import Batches

    ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]  # or np.array(ids), a tensor, an iterator
    batches = Batches(ids, batch_size=2, context_length=4, order="shuffled", seed=0)
    x, y = batches.batch(0)  # each (2, 4), of int64; y is x one token later
    # docs: end own-ids
    assert batches.steps_per_epoch == 1
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert torch.equal(Batches(np.array(ids), 2, 4, "shuffled").batch(0)[0], x)


def test_one_random_batch_on_a_device():
    # docs: start get-batch
    import numpy as np
    import torch

    from lmcore import get_batch

    ids = np.arange(1_000) % 50
    generator = torch.Generator().manual_seed(0)
    x, y = get_batch(ids, batch_size=8, context_length=16, device="cpu", generator=generator)
    # docs: end get-batch
    assert x.shape == y.shape == (8, 16)
    assert torch.equal(y, (x + 1) % 50)


def test_a_dataset_is_a_task_that_a_model_trains_on():
    # docs: start own-dataset
    import torch
    from torch.utils.data import TensorDataset

    from lmcore import GPT, DatasetBatches, ModelConfig, RowsTask, Runtime, TrainConfig, train

    torch.manual_seed(0)
    x = torch.randint(10, (200, 5))
    y = (x + 1) % 10  # what to predict at each position; -100 where nothing
    task = RowsTask(
        batches=DatasetBatches(TensorDataset(x[:160], y[:160]), batch_size=32),
        validation=(x[160:], y[160:]),
    )
    shape = {"d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32}
    model = GPT(ModelConfig(vocab_size=10, context_length=5, **shape))
    *_, last = train(model, TrainConfig(steps=50, batch_size=32), task, Runtime(device="cpu"))
    # docs: end own-dataset
    assert task.batches_per_epoch == 5
    assert last.scores["validation"].loss < math.log(10)


def test_batches_of_a_loader_or_a_function_that_returns_an_iterator():
    # docs: start own-iterator
    import torch

    from lmcore import IterableBatches

    def lines():  # any source that can be read from the start again
        for number in range(100):
            yield torch.arange(number, number + 9).repeat(4, 1)

    batches = IterableBatches(lines)  # or a DataLoader, a list
    x, y = batches.batch(0)  # each (4, 8); y is x one token later
    # docs: end own-iterator
    assert torch.equal(y, x + 1)
    assert torch.equal(batches.batch(100)[0], x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: get_batch(torch.arange(9), 2, 3),
        lambda: Batches(torch.arange(9), 2, 3).batch(0),
        lambda: DatasetBatches([list(range(4))] * 2, 2).batch(0),
        lambda: IterableBatches([torch.arange(4).repeat(2, 1)]).batch(0),
    ],
    ids=["get_batch", "Batches", "DatasetBatches", "IterableBatches"],
)
def test_every_way_gives_rows_of_64_bit_integers(make):
    x, y = make()
    assert (x.dtype, y.dtype, x.shape, y.shape) == (torch.int64, torch.int64, (2, 3), (2, 3))

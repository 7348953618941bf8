"""A checkpoint brings everything back or says what is wrong; the one before it survives."""

import errno
import io
import os
import pickle

import pytest
import torch
from made import small_disk
from torch import nn

from lmcore.training.checkpoint import (
    N_CHECKPOINTS,
    Progress,
    latest_checkpoint,
    load_checkpoint,
    load_progress,
    load_weights,
    save_checkpoint,
    save_progress,
    save_weights,
)


def trained(seed, width=3):
    """Return a small model after two steps and its optimizer, one with tensors of its own."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randn(4, 2)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def progress(step):
    return Progress(step=step, elapsed_s=1.5, precision="float32")


@pytest.fixture
def saved(tmp_path):
    """The path of a checkpoint of trained(0) with an older one beside it."""
    save_progress(tmp_path, *trained(0), progress(3))
    return save_progress(tmp_path, *trained(0), progress(7))


def flat(tree):
    """Return the numbers of a nested state as lists, for comparison bit for bit."""
    if isinstance(tree, dict):
        return {key: flat(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [flat(value) for value in tree]
    return tree.tolist() if isinstance(tree, torch.Tensor) else tree


def test_the_weights_come_back(saved):
    model, optimizer = trained(1)
    load_checkpoint(saved, model, optimizer)
    assert flat(model.state_dict()) == flat(trained(0)[0].state_dict())


def test_the_state_of_the_optimizer_comes_back(saved):
    model, optimizer = trained(1)
    load_checkpoint(saved, model, optimizer)
    assert flat(optimizer.state_dict()) == flat(trained(0)[1].state_dict())


def test_random_numbers_go_on_where_they_stopped(tmp_path):
    model, optimizer = trained(0)
    path = save_progress(tmp_path, model, optimizer, progress(1))
    expected = torch.rand(5)
    torch.manual_seed(99)
    load_checkpoint(path, model, optimizer)
    assert torch.equal(torch.rand(5), expected)


def test_saving_draws_no_random_number(tmp_path):
    model, optimizer = trained(0)
    before = torch.get_rng_state()
    save_checkpoint(tmp_path / "file", model, optimizer, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_progress_comes_back(saved):
    assert load_progress(saved, *trained(0)) == progress(7)
    assert load_checkpoint(saved, *trained(0)) == 7


def test_an_open_file_holds_what_a_path_does(saved, tmp_path):
    file = io.BytesIO()
    save_checkpoint(file, *trained(0), 7)
    model, optimizer = trained(1)
    file.seek(0)
    assert load_checkpoint(file, model, optimizer) == 7
    for ours, theirs in zip(model.parameters(), trained(0)[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_an_open_file_that_is_cut_off_is_an_error(saved):
    with pytest.raises(ValueError, match="the open file is not a whole checkpoint"):
        load_checkpoint(io.BytesIO(saved.read_bytes()[:-1]), *trained(0))


def test_the_newest_checkpoint_is_found(saved):
    assert latest_checkpoint(saved.parent) == saved


def test_an_empty_folder_and_one_that_is_missing_hold_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "missing") is None


def test_only_the_newest_few_stay(tmp_path):
    model, optimizer = trained(0)
    for step in (9, 10, 99, 100, 1_000_000):
        save_progress(tmp_path, model, optimizer, progress(step))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["step0000100.safetensors", "step1000000.safetensors"]
    assert len(left) == N_CHECKPOINTS


def test_a_flipped_byte_is_an_error_that_names_the_file_and_the_one_before(saved):
    whole, into = saved.read_bytes(), trained(1)
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in (*range(0, header, 3), *range(header, len(whole), 97)):
        raw = bytearray(whole)
        raw[place] ^= 1 << place % 8
        saved.write_bytes(raw)
        with pytest.raises(ValueError, match=r"step0000007.* is damaged.*go on from step0000003"):
            load_progress(saved, *into)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 0.1, 0.5, 0.99])
def test_a_file_cut_short_is_an_error_that_names_it(saved, kept):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: kept if isinstance(kept, int) else int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"step0000007\.safetensors is damaged"):
        load_checkpoint(saved, *trained(1))


def test_damage_leaves_the_model_as_it_was(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    model, optimizer = trained(1)
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(saved, model, optimizer)
    assert flat(model.state_dict()) == flat(trained(1)[0].state_dict())


def test_a_damaged_checkpoint_that_is_the_only_one_says_to_start_again(tmp_path):
    path = save_progress(tmp_path, *trained(0), progress(1))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="delete it to start this run again"):
        load_progress(path, *trained(0))


def test_a_model_of_another_shape_is_an_error(saved):
    with pytest.raises(ValueError, match="another shape"):
        load_checkpoint(saved, *trained(0, width=4))


class Trap:
    """An object whose unpickling makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_a_pickle_in_its_place_is_damage_and_is_never_run(saved, tmp_path, write):
    with open(saved, "wb") as file:
        write(Trap(tmp_path / "sprung"), file)
    with pytest.raises(ValueError, match="is damaged"):
        load_checkpoint(saved, *trained(0))
    assert not (tmp_path / "sprung").exists()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_error_while_renaming_leaves_the_old_checkpoints_alone(saved, monkeypatch):
    before = contents(saved.parent)

    def refuse(*_):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no"):
        save_progress(saved.parent, *trained(0), progress(9))
    assert contents(saved.parent) == before


def test_a_full_disk_leaves_the_old_checkpoints_alone_and_names_the_new_one(saved):
    before = contents(saved.parent)
    model, optimizer = trained(0)
    with small_disk(1024), pytest.raises(OSError, match=r"step0000009\S* cannot be written"):
        save_progress(saved.parent, model, optimizer, progress(9))
    assert contents(saved.parent) == before


# Own loops


class Pair(nn.Module):
    """A matrix and a vector, both of which Muon can step if told apart."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.matrix = nn.Parameter(torch.randn(4, 3))
        self.other = nn.Parameter(torch.randn(3, 4))

    def forward(self):
        return (self.matrix @ self.other).square().sum()


def descend(model, optimizer, steps):
    def closure():
        optimizer.zero_grad()
        loss = model()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)


def optimizers():
    """Return every optimizer of torch that takes dense gradients."""
    kinds = [getattr(torch.optim, name) for name in torch.optim.__all__]
    kinds = [kind for kind in kinds if isinstance(kind, type)]
    return [kind for kind in kinds if kind not in (torch.optim.Optimizer, torch.optim.SparseAdam)]


@pytest.mark.parametrize("kind", optimizers(), ids=lambda kind: kind.__name__)
def test_every_optimizer_of_torch_continues_from_a_checkpoint_to_the_bit(tmp_path, kind):
    model, path = Pair(0), tmp_path / "checkpoint"
    optimizer = kind(model.parameters(), lr=1e-3)
    descend(model, optimizer, 3)
    save_checkpoint(str(path), model, optimizer, 3)
    descend(model, optimizer, 3)
    again = Pair(1)
    resumed = kind(again.parameters(), lr=0.5)
    assert load_checkpoint(path, again, resumed) == 3
    descend(again, resumed, 3)
    assert flat(again.state_dict()) == flat(model.state_dict())
    assert flat(resumed.state_dict()) == flat(optimizer.state_dict())


def test_learning_rate_betas_and_decay_of_each_group_come_back(tmp_path):
    model, again = Pair(0), Pair(1)
    groups = [{"params": [model.matrix], "weight_decay": 0.5}, {"params": [model.other]}]
    optimizer = torch.optim.AdamW(groups, lr=0.25, betas=(0.5, 0.75))
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, 0)
    resumed = torch.optim.AdamW([{"params": [p]} for p in again.parameters()], lr=1.0)
    load_checkpoint(tmp_path / "checkpoint", again, resumed)
    numbers = [(g["lr"], g["betas"], g["weight_decay"]) for g in resumed.param_groups]
    assert numbers == [(0.25, (0.5, 0.75), 0.5), (0.25, (0.5, 0.75), 0.01)]


def tied(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_shared_weights_are_stored_once_and_stay_shared(tmp_path):
    path = tmp_path / "checkpoint"
    save_checkpoint(path, *tied(0), 1)
    model, optimizer = tied(1)
    load_checkpoint(path, model, optimizer)
    assert torch.equal(model[1].weight, tied(0)[0][1].weight)
    assert model[0].weight is model[1].weight
    save_weights(tmp_path / "weights", nn.Embedding(5, 3))
    stored = path.stat().st_size - (tmp_path / "weights").stat().st_size
    assert stored < 5_700  # the random state and names, and not the matrix again


def test_weights_that_overlap_in_memory_come_back(tmp_path):
    class Overlapping(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.register_buffer("whole", base)
            self.register_buffer("turned", base.T)
            self.register_buffer("part", base[1:])

    path, into = tmp_path / "weights", Overlapping(torch.zeros(3, 2))
    save_weights(path, Overlapping(torch.arange(6.0).view(3, 2)))
    load_weights(path, into)
    assert into.whole.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_an_optimizer_of_another_kind_is_an_error_that_names_both(tmp_path):
    model, optimizer = trained(0)
    save_checkpoint(tmp_path / "checkpoint", model, optimizer, 1)
    with pytest.raises(ValueError, match="written with the optimizer Adam, not SGD"):
        load_checkpoint(tmp_path / "checkpoint", model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_state_that_a_file_cannot_hold_without_code_is_an_error_that_names_it(tmp_path):
    model, optimizer = trained(0)
    optimizer.param_groups[0]["rule"] = Trap(tmp_path / "sprung")
    with pytest.raises(ValueError, match=r"optimizer\.param_groups\.0\.rule is a Trap"):
        save_checkpoint(tmp_path / "checkpoint", model, optimizer, 1)
    assert not (tmp_path / "checkpoint").exists()

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
    KEEP,
    Progress,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
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
    save_checkpoint(tmp_path, *trained(0), progress(3))
    return save_checkpoint(tmp_path, *trained(0), progress(7))


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
    path = save_checkpoint(tmp_path, model, optimizer, progress(1))
    expected = torch.rand(5)
    torch.manual_seed(99)
    load_checkpoint(path, model, optimizer)
    assert torch.equal(torch.rand(5), expected)


def test_saving_draws_no_random_number(tmp_path):
    model, optimizer = trained(0)
    before = torch.get_rng_state()
    save_checkpoint(tmp_path, model, optimizer, progress(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_progress_comes_back(saved):
    assert load_checkpoint(saved, *trained(0)) == progress(7)


def test_an_open_file_holds_what_a_path_does(saved, tmp_path):
    file = io.BytesIO()
    assert save_checkpoint(file, *trained(0), progress(7)) is None
    model, optimizer = trained(1)
    file.seek(0)
    assert load_checkpoint(file, model, optimizer).step == 7
    for ours, theirs in zip(model.parameters(), trained(0)[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_an_open_file_that_is_cut_off_is_an_error(saved):
    with pytest.raises(ValueError, match="the open file is no whole checkpoint"):
        load_checkpoint(io.BytesIO(saved.read_bytes()[:-1]), *trained(0))


def test_the_newest_checkpoint_is_found(saved):
    assert latest_checkpoint(saved.parent) == saved


def test_an_empty_folder_and_one_that_is_missing_hold_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "missing") is None


def test_only_the_newest_few_stay(tmp_path):
    model, optimizer = trained(0)
    for step in (9, 10, 99, 100, 1_000_000):
        save_checkpoint(tmp_path, model, optimizer, progress(step))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["step0000100.safetensors", "step1000000.safetensors"]
    assert len(left) == KEEP


def test_a_flipped_byte_is_an_error_that_names_the_file_and_the_one_before(saved):
    whole, into = saved.read_bytes(), trained(1)
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in (*range(0, header, 3), *range(header, len(whole), 97)):
        raw = bytearray(whole)
        raw[place] ^= 1 << place % 8
        saved.write_bytes(raw)
        with pytest.raises(ValueError, match=r"step0000007.* is damaged.*go on from step0000003"):
            load_checkpoint(saved, *into)


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
    path = save_checkpoint(tmp_path, *trained(0), progress(1))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="delete it to start this run again"):
        load_checkpoint(path, *trained(0))


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
        save_checkpoint(saved.parent, *trained(0), progress(9))
    assert contents(saved.parent) == before


def test_a_full_disk_leaves_the_old_checkpoints_alone_and_names_the_new_one(saved):
    before = contents(saved.parent)
    model, optimizer = trained(0)
    with small_disk(1024), pytest.raises(OSError, match=r"step0000009\S* cannot be written"):
        save_checkpoint(saved.parent, model, optimizer, progress(9))
    assert contents(saved.parent) == before

"""Each file of each kind, damaged in each way: a reader notices it or reads the right content.

A few places of each file are damaged; --faults full takes a hundred.
"""

import hashlib
import shutil

import pytest
import torch
from damage import findings
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from lmcore.experiments.samples import read_samples
from lmcore.tasks.prepared_text import MANIFEST, load_prepared
from lmcore.training.checkpoint import load_progress
from lmcore.training.state_file import DamagedError

STORES = ["save_checkpoint", "checkpoints", "run", "tokens", "saved model", "prepared text"]


SLOW = ["unfinished run"]
"""Stores that take a training run to read."""


@pytest.fixture(scope="module")
def found(is_full):
    """What the readers of each store made of each damage."""
    if not is_full:
        return findings(STORES, 3)
    return findings(STORES, 100) | findings(SLOW, 10)


@pytest.mark.parametrize("store", [*STORES, *SLOW])
def test_no_damage_of_a_file_is_read_as_something_else_or_ends_in_a_traceback(found, store):
    if store not in found:
        pytest.skip("it takes minutes: give --faults full")
    result = found[store]
    states = {state for counts in result["found"].values() for state in counts}
    assert "noticed" in states
    assert states <= {"noticed", "right", "old"}, result["notes"]


def test_an_older_version_is_read_only_where_its_whole_file_is_put_back(found):
    """A single file is not known to be older; of several files, all must be of one version."""
    with_old = {
        (store, kind)
        for store, result in found.items()
        for kind, counts in result["found"].items()
        if "old" in counts
    }
    assert with_old <= {("checkpoints", "gone"), ("save_checkpoint", "mixed")}


@given(place=st.integers(0, 10**6))
def test_a_flipped_bit_in_the_manifest_of_a_prepared_text_is_noticed_or_changes_nothing(
    text_data, tmp_path_factory, place
):
    folder = shutil.copytree(text_data.folder, tmp_path_factory.mktemp("flipped") / "data")
    raw = bytearray((folder / MANIFEST).read_bytes())
    raw[place // 8 % len(raw)] ^= 1 << place % 8
    (folder / MANIFEST).write_bytes(raw)
    assert load_or_error(folder) in (text_data.report, MANIFEST)


def load_or_error(folder):
    """Return the report of a prepared text, or the manifest's name if an error names it."""
    try:
        return load_prepared(folder).report
    except ValueError as error:
        return MANIFEST if MANIFEST in str(error) else str(error)


@pytest.mark.parametrize("line", ["[" * 100_000, "[]", "3", '{"step": 1}', "{"])
def test_a_sample_that_is_none_is_one_line(tmp_path, line):
    (tmp_path / "samples.jsonl").write_text(line)
    with pytest.raises(ValueError, match=r"samples\.jsonl is damaged"):
        read_samples(tmp_path)


@pytest.mark.parametrize("tree", ["[" * 100_000, "[]", '{"model": 3}', '{"model": {"a": 1}}', "{"])
def test_a_checkpoint_that_holds_another_tree_is_one_line(tmp_path, tree):
    metadata = {"tree": tree, "checksum": hashlib.sha256(tree.encode()).hexdigest()}
    (tmp_path / "step0000001.safetensors").write_bytes(save({}, metadata))
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(DamagedError, match=r"step0000001\.safetensors is damaged"):
        load_progress(tmp_path / "step0000001.safetensors", model, optimizer)

"""The records of an unfinished run, and who may write to a run."""

import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made import PLAIN, TINY, text_source

from lmcore.experiments.run_folder import RunWriter, load_run
from lmcore.experiments.schema import upgrade_folder
from lmcore.locks import LockedError, locked
from lmcore.model.gpt import GPT
from lmcore.training import parallel
from lmcore.training.config import TrainConfig
from lmcore.training.loop import train


@dataclass(frozen=True)
class Plan:
    """A config for runs that never train."""

    seed: int = 0


def begun(folder, synced=6, steps=9):
    """Write an unfinished run whose first records were on the disk with a checkpoint."""
    with RunWriter(folder, Plan()) as writer:
        for step in range(steps):
            writer.add({"step": step, "loss": 2.5 - 0.125 * step})
            if step + 1 == synced:
                writer.sync()
    return folder / "metrics.jsonl"


def resumed(folder):
    with RunWriter(folder, Plan()) as writer:
        writer.drop_newer_checkpoints()
        return [record["loss"] for record in writer.records()]


@given(place=st.integers(0, 10**6))
def test_a_flipped_bit_in_the_records_before_a_checkpoint_is_refused_on_resuming(
    tmp_path_factory, place
):
    folder = tmp_path_factory.mktemp("run")
    path = begun(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    raw = bytearray(path.read_bytes())
    n = len(b"".join(lines[:6]))
    raw[place // 8 % n] ^= 1 << place % 8
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged .* or delete \S+ to start"):
        resumed(folder)


def test_records_that_were_lost_after_a_checkpoint_are_repeated(tmp_path):
    path = begun(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    for n in range(9, -1, -1):
        path.write_text("".join(lines[:n]))
        assert len(resumed(tmp_path)) == n


def test_a_run_that_goes_on_from_an_earlier_checkpoint_may_write_other_records(tmp_path):
    begun(tmp_path)
    with RunWriter(tmp_path, Plan()) as writer:
        for step in range(3, 9):  # killed before it writes a checkpoint
            writer.add({"step": step, "loss": 0.0})
    assert resumed(tmp_path) == [2.5, 2.375, 2.25] + [0.0] * 6


@pytest.mark.parametrize("content", ["", "[]", "3", "{", '[{"bytes": "x"}]', "[" * 100_000])
def test_damaged_checksums_of_records_do_not_stop_a_run(tmp_path, content):
    begun(tmp_path)
    (tmp_path / ".metrics.jsonl.sums.json").write_text(content)
    assert len(resumed(tmp_path)) == 9


def test_a_line_that_holds_no_record_ends_what_is_read(tmp_path):
    path = begun(tmp_path, synced=0)
    for other in ("[]", "3", "null", '{"loss": 1}', '{"step": "1"}', "[" * 100_000):
        lines = path.read_text().splitlines()[:3]
        path.write_text("\n".join([*lines, other, ""]))
        assert len(resumed(tmp_path)) == 3


@given(place=st.integers(0, 10**6))
def test_a_flipped_bit_in_the_environment_of_an_unfinished_run_is_noticed(tmp_path_factory, place):
    folder = tmp_path_factory.mktemp("run")
    with RunWriter(folder, Plan()) as writer:
        writer.note_environment({"sessions": [], "data": {"text_sha256": "0"}, "processes": 2})
    whole = (folder / "environment.json").read_bytes()
    raw = bytearray(whole)
    raw[place // 8 % len(raw)] ^= 1 << place % 8
    (folder / "environment.json").write_bytes(raw)
    with pytest.raises(ValueError, match=r"environment\.json is damaged"):
        resumed_on(folder, "0")


def resumed_on(folder, text):
    with RunWriter(folder, Plan()) as writer:
        writer.note_session({})
        writer.check_text(text)


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
@pytest.mark.parametrize("content", ["[]", "3", "{", "[" * 100_000, '{"sessions": 3, "data": []}'])
def test_a_damaged_file_of_an_unfinished_run_is_one_line_with_a_remedy(tmp_path, name, content):
    begun(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{tmp_path}") as error:
        resumed_on(tmp_path, "0")
    assert "\n" not in str(error.value)
    assert re.search(rf"delete ({tmp_path}|it) to start", str(error.value))


# Finished runs


@pytest.fixture
def finished(tmp_path):
    """The folder of a finished run."""
    begun(tmp_path / "scratch")
    with RunWriter(tmp_path / "scratch", Plan()) as writer:
        writer.note_environment({})
        writer.finish({"best": 1.5}, tmp_path / "results")
    return tmp_path / "results"


def test_the_program_sha256sum_checks_a_finished_run(finished):
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=finished, capture_output=True)
    assert (done.returncode, done.stdout.count(b": OK")) == (0, 4)


def test_records_that_lack_their_last_lines_are_noticed(finished):
    path = finished / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged .*restore it from a copy"):
        load_run(finished, Plan)


def test_a_number_that_was_edited_is_noticed(finished):
    path = finished / "outcome.json"
    path.write_text(path.read_text().replace("1.5", "1.4"))
    with pytest.raises(ValueError, match=r"outcome\.json is damaged"):
        load_run(finished, Plan)


def test_a_run_of_an_earlier_version_asks_for_its_upgrade_which_adds_the_checksums(finished):
    (finished / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match=r"SHA256SUMS is missing: .*lmcore upgrade"):
        load_run(finished, Plan)
    assert upgrade_folder(finished, Plan)
    assert load_run(finished, Plan).outcome == {"best": 1.5}
    assert not upgrade_folder(finished, Plan)


def test_an_upgrade_does_not_seal_what_cannot_be_read(finished):
    (finished / "SHA256SUMS").unlink()
    (finished / "metrics.jsonl").write_text("[]\n{")
    with pytest.raises(ValueError, match=r"metrics\.jsonl is damaged"):
        upgrade_folder(finished, Plan)
    assert not (finished / "SHA256SUMS").exists()


def test_an_upgrade_waits_for_nobody_who_writes_to_the_run(finished):
    (finished / "SHA256SUMS").unlink()
    with locked(finished), pytest.raises(LockedError, match="results is being written by process"):
        upgrade_folder(finished, Plan)


# Checkpoints of plain train()


def records(folder):
    torch.manual_seed(0)
    return train(GPT(TINY), TrainConfig(steps=3), text_source(2), PLAIN, folder)


def test_train_refuses_checkpoints_that_another_process_writes(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(LockedError, match="run is being written by"):
        next(records(tmp_path / "run"))


def test_a_generator_that_was_left_behind_does_not_lock_out_its_own_process(tmp_path):
    left_behind = records(tmp_path)
    next(left_behind)
    assert [record.step for record in records(tmp_path)] == [0, 1, 2, 3]


def test_train_collects_what_a_killed_process_left(tmp_path):
    leftover = tmp_path / ".step0000007.safetensors.123.part"
    leftover.touch()
    next(records(tmp_path))
    assert not leftover.exists()


def test_checkpoints_that_cannot_be_written_are_found_before_training(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file\S* cannot be written"):
        next(records(tmp_path / "file"))


# Groups of processes

GROUP = """
import sys
from lmcore.training import parallel
with parallel.group():
    try:
        with parallel.first_goes_first():
            if parallel.rank() == 0 and sys.argv[1] == "fails":
                raise ValueError("no data")
    except (ValueError, RuntimeError) as error:
        print(error)
    else:
        print("went on")
"""


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("fails", ["no data", "process 0 ended with an error before the others could begin"]),
        ("works", ["went on", "went on"]),
    ],
)
def test_when_the_first_process_fails_the_others_do_not_wait_for_it(tmp_path, first, expected):
    with socket.create_server(("localhost", 0)) as free:
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", GROUP, first],
            env=os.environ | common | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert outputs == expected


def test_alone_an_error_passes_through():
    with pytest.raises(KeyError), parallel.first_goes_first():
        raise KeyError

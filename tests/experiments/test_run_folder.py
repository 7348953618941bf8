"""Files are whole or not there, configs come back equal, run folders say the truth."""

import dataclasses
import errno
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import small_disk

from lmcore.boundary import convert_fields
from lmcore.config import config_hash, flat_fields, from_dict, with_fields
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.metrics_file import check_steps, read_metrics
from lmcore.experiments.run_folder import RunWriter, load_run, without_checksum
from lmcore.files import read_json, whole_file, write_json, write_text
from lmcore.model.rope import RopeScaling
from lmcore.studies.baseline import experiments as baseline
from lmcore.training.config import OptimizerConfig


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with whole_file(tmp_path / "a.txt") as beside:
        beside.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"
    assert (tmp_path / "a.txt").read_text() == "new"


def fail_half_way(path, error):
    with whole_file(path) as beside:
        beside.write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), KeyError()])
def test_an_error_while_writing_leaves_the_old_file_and_nothing_beside_it(tmp_path, error):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(type(error)):
        fail_half_way(tmp_path / "a.txt", error)
    assert (names(tmp_path), (tmp_path / "a.txt").read_text()) == (["a.txt"], "old")


def test_an_error_while_renaming_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    write_text(tmp_path / "a.txt", "old")

    def refuse(*_):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no"):
        write_text(tmp_path / "a.txt", "new")
    assert (names(tmp_path), (tmp_path / "a.txt").read_text()) == (["a.txt"], "old")


def test_on_a_full_disk_the_old_file_stays_and_the_error_names_it(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with small_disk(1024), pytest.raises(OSError, match=r"a\.txt cannot be written"):
        write_text(tmp_path / "a.txt", "x" * 5000)
    assert (names(tmp_path), (tmp_path / "a.txt").read_text()) == (["a.txt"], "old")


def test_on_a_full_disk_a_record_that_does_not_fit_names_the_metrics(tmp_path):
    writer = RunWriter(tmp_path, Plan())
    writer.add({"step": 0})
    with small_disk(1024), pytest.raises(OSError, match=r"metrics\.jsonl cannot be written"):
        writer.add({"step": 1, "text": "x" * 5000})
    assert steps(writer) == [0]


def test_text_is_written_with_the_same_line_ends_everywhere(tmp_path):
    write_text(tmp_path / "a.txt", "é\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\nb\n".encode()


def test_a_folder_that_is_missing_is_made(tmp_path):
    write_json(tmp_path / "a" / "b" / "c.json", [1])
    assert read_json(tmp_path / "a" / "b" / "c.json") == [1]


def test_a_number_that_json_lacks_is_an_error_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "a.json", float("nan"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("content", [None, b"{", b"", b'"\xff"'])
def test_a_json_file_that_cannot_be_read_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is (missing|damaged)"):
        read_json(tmp_path / "a.json")


sizes = st.integers(1, 10**6)
train_values = st.fixed_dictionaries(
    {
        "batch_size": sizes,
        "lr": st.floats(1e-9, 1e3),
        "weight_decay": st.floats(0, 1),
        "eval_at": st.lists(sizes, max_size=5).map(tuple),
    }
)
file_names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=40)
names_and_seeds = st.fixed_dictionaries({"name": file_names, "seed": st.integers(0, 2**31)})


def changed(outer, values):
    """Return the baseline with values in place of its own."""
    return dataclasses.replace(
        baseline.BASELINE, train=with_fields(baseline.CHALLENGE, values), **outer
    )


@given(outer=names_and_seeds, values=train_values)
def test_a_config_comes_back_equal_from_its_dictionary(outer, values):
    experiment = changed(outer, values)
    assert from_dict(Experiment, asdict(experiment)) == experiment


@given(outer=names_and_seeds, values=train_values)
def test_a_config_comes_back_equal_with_an_equal_hash_from_json(outer, values):
    experiment = changed(outer, values)
    back = from_dict(Experiment, json.loads(json.dumps(asdict(experiment))))
    assert (back, config_hash(back)) == (experiment, config_hash(experiment))


def test_a_field_that_a_stored_config_lacks_takes_its_default():
    assert from_dict(OptimizerConfig, {"lr": 0.5}) == OptimizerConfig(lr=0.5)


def test_an_unknown_field_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="OptimizerConfig has no field velocity"):
        from_dict(OptimizerConfig, {"lr": 0.5, "velocity": 0.9})


OTHERWISE = {
    "study": "other",
    "name": "other",
    "seed": 7,
    "scale": "smoke",
    "task.source": "generated",
    "task.n_titles": 99_999,
    "task.n_test_titles": 9_999,
    "task.validation_fraction": 0.2,
    "task.seed": 7,
    "task.tokenizer": "unigram",
    "task.tokenizer_text": "train",
    "model.context_length": 64,
    "model.d_model": 256,
    "model.n_layers": 5,
    "model.n_heads": 4,
    "model.d_ff": 1024,
    "model.n_kv_heads": 2,
    "model.head_size": 32,
    "model.activation": "swiglu",
    "model.positions": "rope",
    "model.rope_base": 500_000.0,
    "model.rope_scaling": RopeScaling(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context_length=128
    ),
    "model.norm": "rms",
    "model.norm_at": "post",
    "model.norm_eps": 1e-6,
    "model.qk_norm": True,
    "model.parallel_residual": True,
    "model.layer_scale": 0.1,
    "model.bias": False,
    "model.tie_embeddings": False,
    "model.initialisation": "gpt2",
    "model.initial_scale": 2.0,
    "model.embedding_scale": 4.0,
    "model.head_scale": 12.0,
    "model.dropout": 0.2,
    "train.batch_size": 32,
    "train.order": "shuffled",
    "train.within_documents": True,
    "train.epochs": 3,
    "train.steps": 100,
    "train.n_tokens": 1_000_000,
    "train.max_s": 60.0,
    "train.evaluation.patience": 3,
    "train.evaluation.stop_accuracy": 0.99,
    "train.optimizer.kind": "adamw",
    "train.optimizer.lr": 0.1,
    "train.schedule.kind": "wsd",
    "train.schedule.warmup_steps": 10,
    "train.schedule.min_lr_ratio": 0.1,
    "train.schedule.decay_fraction": 0.1,
    "train.optimizer.momentum": 0.9,
    "train.optimizer.betas": (0.9, 0.99),
    "train.optimizer.eps": 1e-6,
    "train.optimizer.weight_decay": 0.1,
    "train.optimizer.decay_embeddings": True,
    "train.optimizer.max_grad_norm": 0.5,
    "train.loss": "stablemax",
    "train.optimizer.grokfast_lambda": 2.0,
    "train.optimizer.grokfast_alpha": 0.9,
    "train.optimizer.orthogonal_gradients": True,
    "train.evaluation.eval_at": (1, 2),
    "train.evaluation.eval_every": 5,
    "train.evaluation.log_every": 10,
    "train.evaluation.keep_weights": True,
    "train.precision": "float32",
}


TOGETHER = {
    "train.steps": {"train.epochs": None},
    "train.n_tokens": {"train.epochs": None},
    "train.optimizer.betas": {"train.optimizer.kind": "adamw"},
    "train.optimizer.eps": {"train.optimizer.kind": "adamw"},
    "train.schedule.decay_fraction": {"train.schedule.kind": "wsd"},
    "train.optimizer.grokfast_alpha": {"train.optimizer.grokfast_lambda": 2.0},
}
"""What must change with a field, since alone it would have no effect."""


@pytest.mark.parametrize("name", OTHERWISE)
def test_the_hash_changes_with(name):
    changes = {name: OTHERWISE[name]} | TOGETHER.get(name, {})
    assert config_hash(with_fields(baseline.BASELINE, changes)) != config_hash(baseline.BASELINE)


def test_the_test_above_knows_every_field():
    names = set(flat_fields(baseline.BASELINE))
    assert names - set(OTHERWISE) == {"task.vocab_size", "model.vocab_size"}


@pytest.fixture
def run_folder(smoke_run, tmp_path):
    """A copy of the folder of a finished run."""
    _, run = smoke_run
    return shutil.copytree(run.folder, tmp_path / "run")


FILES = ("config.json", "metrics.jsonl", "environment.json", "outcome.json")


def test_a_run_folder_holds_its_four_files_and_their_checksums_and_nothing_else(run_folder):
    assert set(names(run_folder)) == {*FILES, "SHA256SUMS"}


def test_a_config_edited_after_its_run_is_refused(run_folder):
    path = run_folder / "config.json"
    stored = read_json(path)
    stored["config"]["train"]["optimizer"]["lr"] *= 2
    write_json(path, stored)
    with pytest.raises(ValueError, match=r"config\.json was changed after its run"):
        load_run(run_folder, Experiment)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_of_a_run_is_named(run_folder, name):
    (run_folder / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        load_run(run_folder, Experiment)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [b"\xff", b"{", b"nothing"])
def test_a_damaged_file_of_a_run_is_named(run_folder, name, damage):
    path = run_folder / name
    path.write_bytes(path.read_bytes()[:-20] + damage)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        load_run(run_folder, Experiment)


@pytest.mark.parametrize("stored", [[], 3, {}, {"config": []}, {"config": {"lr": 1}}])
def test_a_file_that_holds_no_config_is_named(run_folder, stored):
    write_json(run_folder / "config.json", stored)
    with pytest.raises(ValueError, match=r"config\.json is not a config"):
        load_run(run_folder, Experiment)


def test_damage_in_metrics_is_told_by_its_line(run_folder):
    path = run_folder / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[6] = lines[6][:-1]
    write_text(path, "\n".join(lines))
    with pytest.raises(ValueError, match="line 7"):
        read_metrics(path)


@dataclass(frozen=True)
class Plan:
    """A config for runs that never train."""

    seed: int = 0


def steps(writer):
    return [record["step"] for record in writer.records()]


def test_a_run_taken_up_again_writes_the_records_after_its_checkpoint_anew(tmp_path):
    first = RunWriter(tmp_path, Plan())
    for step in range(6):
        first.add({"step": step})
    first.close()
    again = RunWriter(tmp_path, Plan())
    for step in range(3, 5):
        again.add({"step": step})
    assert steps(again) == [0, 1, 2, 3, 4]


@given(cut=st.integers(1, 14))
def test_a_line_that_a_kill_cut_short_is_forgotten(tmp_path, cut):
    write_text(tmp_path / "metrics.jsonl", "")
    writer = RunWriter(tmp_path, Plan())
    for step in (0, 1):
        writer.add({"step": step, "x": 1})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    writer.close()
    again = RunWriter(tmp_path, Plan())
    again.add({"step": 1, "x": 1})
    again.close()
    assert steps(again) == [0, 1]


def test_an_unfinished_run_of_another_config_is_refused(tmp_path):
    RunWriter(tmp_path, Plan(seed=1)).close()
    with pytest.raises(ValueError, match=f"{tmp_path} holds an unfinished run of another config"):
        RunWriter(tmp_path, Plan(seed=2))


def test_facts_noted_later_replace_those_of_the_same_name(tmp_path):
    writer = RunWriter(tmp_path, Plan())
    writer.note_environment({"a": 1, "b": 1})
    writer.note_environment({"b": 2})
    facts = without_checksum(read_json(tmp_path / "environment.json"))
    assert facts == {"a": 1, "b": 2}


def test_a_finished_run_moves_without_its_checkpoints(tmp_path):
    writer = RunWriter(tmp_path / "scratch", Plan())
    writer.note_environment({})
    writer.add({"step": 0})
    write_text(tmp_path / "scratch" / "checkpoints" / "step0.safetensors", "")
    writer.finish({"best": 1}, tmp_path / "results" / "run")
    assert load_run(tmp_path / "results" / "run", Plan).outcome == {"best": 1}
    assert set(names(tmp_path / "results" / "run")) == {*FILES, "SHA256SUMS"}
    assert names(tmp_path / "results") == ["run"]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([0, 1, 1, 2], "repeats step 1"),
        ([0, 2, 1], "goes back from step 2 to 1"),
        ([0, 1, 2, 0, 1, 2], "goes back from step 2 to 0"),
        ([0, 2], "lacks step 1"),
        ([1, 2], "lacks step 0"),
        ([], "lacks step 0"),
        ([0, -1], "damaged in line 2"),
        ([0, None], "damaged in line 2"),
        ([0, 1.0], "damaged in line 2"),
    ],
)
def test_repeated_missing_and_unordered_steps_are_refused_by_name(tmp_path, found, message):
    with RunWriter(tmp_path / "run", Plan()) as writer:
        writer.note_environment({})
        lines = "".join(json.dumps({"step": step}) + "\n" for step in found)
        write_text(tmp_path / "run" / "metrics.jsonl", lines)
        writer.finish({}, tmp_path / "results" / "run")
    with pytest.raises(ValueError, match=f"metrics.jsonl .*{message}"):
        load_run(tmp_path / "results" / "run", Plan)


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 4))
def test_steps_pass_exactly_if_they_rise_and_every_due_one_is_there(found, every):
    records = [{"step": step} for step in found]
    due = set(range(0, max(found, default=0) + 1, every))
    if found == sorted(set(found)) and due <= set(found):
        check_steps(Path("metrics.jsonl"), records, every)
    else:
        with pytest.raises(ValueError, match=r"metrics\.jsonl"):
            check_steps(Path("metrics.jsonl"), records, every)


def checkpoints(folder):
    return [path.name for path in sorted((folder / "checkpoints").iterdir())]


def with_checkpoints(folder, recorded, saved):
    """Return a writer of a run with these recorded steps and checkpoints."""
    writer = RunWriter(folder, Plan())
    for step in recorded:
        writer.add({"step": step})
    for step in saved:
        write_text(folder / "checkpoints" / f"step{step:07d}.safetensors", "")
    return writer


@pytest.mark.parametrize("recorded", [[0, 1, 2, 3], [0, 1, 2, 3, 5, 6]])
def test_checkpoints_past_the_records_are_dropped(tmp_path, recorded):
    with with_checkpoints(tmp_path / "run", recorded, [3, 6]) as writer:
        writer.drop_newer_checkpoints()
    assert checkpoints(tmp_path / "run") == ["step0000003.safetensors"]


def test_a_run_whose_every_checkpoint_is_past_its_records_is_refused_and_stays(tmp_path):
    refused = pytest.raises(ValueError, match=r"metrics\.jsonl lacks step 2, .*step0000003")
    with with_checkpoints(tmp_path / "run", [0, 1], [3, 6]) as writer, refused:
        writer.drop_newer_checkpoints()
    assert len(checkpoints(tmp_path / "run")) == 2


def test_left_over_parts_are_deleted_and_other_files_stay(tmp_path):
    run = tmp_path / "run"
    for name in (".a.json.123.part", "checkpoints/.b.safetensors.123.part", "x.part", ".y"):
        write_text(run / name, "")
    RunWriter(run, Plan()).close()
    assert names(run) == [".y", "checkpoints", "config.json", "x.part"]
    assert checkpoints(run) == []


def test_a_run_that_another_scratch_folder_finished_first_stays(tmp_path):
    for scratch, best in (("a", 1), ("b", 2)):
        with RunWriter(tmp_path / scratch, Plan()) as writer:
            writer.note_environment({})
            writer.add({"step": 0})
            writer.finish({"best": best}, tmp_path / "results" / "run")
    assert load_run(tmp_path / "results" / "run", Plan).outcome == {"best": 1}
    assert names(tmp_path / "results") == ["run"]


@dataclass(frozen=True)
class Painted:
    colour: Literal["red", "blue"] = "red"
    size: int = 1


def test_a_value_that_is_no_choice_is_an_error_with_all_choices():
    with pytest.raises(ValueError, match="colour must be one of red, blue, not 'green'"):
        convert_fields(Painted("green"))


def test_a_value_that_is_a_choice_passes():
    convert_fields(Painted("blue"))

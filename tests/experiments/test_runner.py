"""Named experiments, their small versions, and runs that are made at most once."""

import dataclasses
import shutil
import subprocess

import pytest
import torch
from made import PLAIN

from lmcore.config import flat_fields, with_fields
from lmcore.experiments.cost import cost, expected_steps
from lmcore.experiments.environment import environment
from lmcore.experiments.experiment import SHORT_WARMUP, Experiment, prepared, smoke, task_of
from lmcore.experiments.run_folder import RunWriter, with_checksum
from lmcore.experiments.runner import load, load_finished, record_to_dict, run_all, run_or_load
from lmcore.files import read_json, write_json
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.studies import all_studies
from lmcore.studies.baseline import experiments as baseline
from lmcore.studies.baseline.probes import probe
from lmcore.studies.grokking.live import live_variant
from lmcore.training.loop import train
from lmcore.training.records import Record

NAMED = [
    experiment
    for study in all_studies().values()
    if study.trains_models
    for experiment in study.experiments()
]
SMALL = smoke(baseline.BASELINE)


def never(*_):
    raise AssertionError("a finished run is not probed again")


@pytest.fixture
def workspace(smoke_run, tmp_path, monkeypatch):
    """A copy of a workspace with one finished smoke run, as the working directory."""
    source, _ = smoke_run
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def code_path(experiment):
    """Return what decides which code a run of experiment takes.

    Names and seeds are left out, and of a number only whether it is zero remains.
    """
    fields = flat_fields(experiment).items()
    chosen = {name: without_size(value) for name, value in fields if name not in NAMES}
    n_kv_heads = experiment.model.n_kv_heads
    return tuple(chosen.items()), n_kv_heads in (None, experiment.model.n_heads)


def without_size(value):
    return value if value is None or isinstance(value, str | bool) else bool(value)


NAMES = ("study", "name", "seed")
DISTINCT = {code_path(smoke(experiment)): experiment for experiment in reversed(NAMED)}


@pytest.mark.parametrize("experiment", DISTINCT.values(), ids=lambda e: str(e.path))
def test_each_distinct_named_experiment_takes_one_step(smoke_run, experiment):
    workspace, _ = smoke_run
    small = smoke(experiment)
    corpus = prepared(small, workspace / ".smoke/.cache/corpus")
    torch.manual_seed(small.seed)
    run = train(GPT(small.model), small.train, task_of(small, corpus), PLAIN)
    next(run)
    assert next(run).loss > 0


def test_no_two_named_experiments_share_a_folder():
    assert len({experiment.path for experiment in NAMED}) == len(NAMED)


def test_the_baseline_has_the_published_shape_and_schedule():
    sizes = (baseline.BASELINE.model.n_parameters, baseline.BASELINE.task.vocab_size)
    assert sizes == (27_172_864, 16_000)


def test_a_small_version_differs_from_another_where_the_experiments_differ():
    assert len({smoke(experiment) for experiment in NAMED}) == len(NAMED)


def test_a_small_version_leaves_room_after_a_long_warmup():
    long = with_fields(baseline.BASELINE.train, warmup_steps=200)
    small = smoke(dataclasses.replace(baseline.BASELINE, train=long))
    assert (small.train.schedule.warmup_steps, SMALL.train.schedule.warmup_steps) == (
        SHORT_WARMUP,
        0,
    )


def test_corpus_and_model_of_different_vocabularies_are_an_error_with_both():
    with pytest.raises(ValueError, match=r"vocabulary of 16000.* one of 99"):
        dataclasses.replace(baseline.BASELINE, model=ModelConfig(vocab_size=99))


def test_attention_within_documents_of_a_text_without_documents_is_an_error(smoke_run):
    experiment = live_variant()
    plan = dataclasses.replace(experiment.train, within_documents=True)
    with pytest.raises(ValueError, match=r"no effect with a ModularConfig.*leave it out"):
        dataclasses.replace(experiment, train=plan)


def test_what_is_prepared_is_read_within_documents_where_the_plan_says_so(workspace, smoke_run):
    cache, plan = workspace / ".smoke/.cache/corpus", SMALL.train
    within = dataclasses.replace(SMALL, train=dataclasses.replace(plan, within_documents=True))
    assert not prepared(SMALL, cache).within_documents
    assert prepared(within, cache).within_documents


def test_a_finished_run_is_loaded_and_not_trained_again(workspace, smoke_run):
    _, run = smoke_run
    before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*")}
    loaded = run_or_load(SMALL, never, runtime=PLAIN, progress=False)
    assert loaded.records == run.records
    assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*")} == before


def test_where_there_is_no_run_none_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(SMALL) is None


def test_of_many_experiments_the_runs_there_are_are_loaded(workspace, smoke_run):
    _, run = smoke_run
    (found,) = load_finished([dataclasses.replace(SMALL, seed=7), SMALL])
    assert found.config == run.config


def test_results_of_another_config_are_refused(workspace):
    other = dataclasses.replace(SMALL, train=with_fields(SMALL.train, lr=0.5))
    with pytest.raises(ValueError, match="seed1337 holds a run of another config"):
        run_or_load(other, never, runtime=PLAIN, progress=False)


def test_an_unfinished_run_of_another_config_is_refused(workspace):
    shutil.rmtree(workspace / ".smoke/results")
    other = dataclasses.replace(SMALL, train=with_fields(SMALL.train, lr=0.5))
    with pytest.raises(ValueError, match="holds an unfinished run of another config"):
        run_or_load(other, never, runtime=PLAIN, progress=False)


def test_a_run_moved_away_is_finished_again_from_its_last_checkpoint(workspace, smoke_run):
    _, run = smoke_run
    shutil.rmtree(workspace / ".smoke/results")
    again = run_or_load(SMALL, probe, runtime=PLAIN, progress=False)
    assert (again.records, again.outcome) == (run.records, run.outcome)


def test_a_small_run_stays_away_from_the_results(smoke_run):
    workspace, run = smoke_run
    assert run.folder == workspace / ".smoke/results/baseline/sgd/seed1337"
    assert {path.name for path in workspace.iterdir()} == {"myst.yml", ".smoke"}


def test_only_a_full_run_belongs_to_the_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [e.root.relative_to(tmp_path).as_posix() for e in (baseline.BASELINE, SMALL)] == [
        ".",
        ".smoke",
    ]


def test_the_workspace_is_found_from_a_folder_inside_it(tmp_path, monkeypatch):
    (tmp_path / "myst.yml").touch()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert baseline.BASELINE.root == tmp_path


def test_a_run_s_environment_says_what_a_reader_must_know(smoke_run):
    _, run = smoke_run
    (session,) = run.environment["sessions"]
    assert {"commit", "dirty", "python", "torch", "device", "started"} <= set(session)
    assert session["precision"] == "float32"
    assert {"training_s", "peak_bytes", "data"} <= set(run.environment)


def test_a_run_taken_up_again_names_both_of_its_sessions(workspace):
    shutil.rmtree(workspace / ".smoke/results")
    again = run_or_load(SMALL, probe, runtime=PLAIN, progress=False)
    assert len(again.environment["sessions"]) == 2


def test_a_run_does_not_go_on_with_another_text(workspace):
    shutil.rmtree(workspace / ".smoke/results")
    path = workspace / ".smoke/runs" / SMALL.path / "environment.json"
    environment = read_json(path)
    environment["data"]["text_sha256"] = "0" * 64
    write_json(path, with_checksum(environment))
    with pytest.raises(ValueError, match="began on the text 000000000000, this one is"):
        run_or_load(SMALL, never, runtime=PLAIN, progress=False)


def test_the_outcome_scores_every_test_token_once(smoke_run):
    _, run = smoke_run
    test = run.outcome["test"]
    assert test.n_tokens == test.of_tokens == run.environment["data"]["test_tokens"]


def test_the_smoke_run_learns_something(smoke_run):
    _, run = smoke_run
    first, last = (run.records[i]["validation"].nats for i in (0, -1))
    assert last < 0.6 * first


def test_a_probe_is_kept_with_the_scores(smoke_run):
    _, run = smoke_run
    assert len(run.outcome["probe"]["next_token"]["top"]) == 10


def test_a_record_is_kept_without_what_is_missing():
    assert record_to_dict(Record(step=0, tokens=0, elapsed_s=1.23456)) == {
        "step": 0,
        "tokens": 0,
        "elapsed_s": 1.23,
    }


def test_an_unfinished_folder_with_a_damaged_config_is_named(tmp_path):
    write_json(tmp_path / "config.json", {"hash": "other"})
    with pytest.raises(ValueError, match=f"{tmp_path} holds an unfinished run of another config"):
        RunWriter(tmp_path, SMALL)


def test_the_written_config_is_the_experiment(smoke_run):
    _, run = smoke_run
    stored = read_json(run.folder / "config.json")["config"]
    assert stored["train"]["optimizer"]["lr"] == SMALL.train.optimizer.lr
    assert isinstance(run.config, Experiment)


def test_the_cost_says_runs_and_minutes_and_precision():
    said = cost([SMALL, SMALL], PLAIN)
    assert all(word in said for word in ("2 runs", "minutes", "cpu", "float32"))


def test_the_cost_knows_the_length_of_each_kind_of_experiment():
    assert [e.path for e in NAMED if expected_steps(e) < 1] == []
    table = live_variant()
    in_epochs = with_fields(table.train, steps=None, epochs=3)
    table = dataclasses.replace(table, train=in_epochs)
    assert expected_steps(table) == 3 * task_of(table, table.task.prepare()).batches_per_epoch


def test_a_run_that_diverged_is_a_result_and_the_others_go_on(workspace, capsys):
    wild = with_fields(SMALL.train, lr=1e30, max_grad_norm=1e10)
    experiments = [dataclasses.replace(SMALL, name="wild", train=wild), SMALL]
    runs = run_all(experiments, never, runtime=PLAIN)
    assert "diverged: the validation loss is nan" in runs[0].records[-1]["stop_reason"]
    assert set(runs[0].outcome) == {"diverged"}
    assert "baseline/wild/seed1337 diverged: the validation loss" in capsys.readouterr().err
    assert [run.config.name for run in runs] == ["wild", "sgd"]


def test_a_run_with_lost_records_goes_back_to_a_checkpoint_before_them(
    workspace, smoke_run, tmp_path
):
    def stop(*_):
        raise RuntimeError("stopped")

    _, whole = smoke_run
    small = dataclasses.replace(SMALL, name="holes")
    options = {"scratch": tmp_path, "progress": False}
    every_step = dataclasses.replace(PLAIN, checkpoint_every_s=0.0)
    with pytest.raises(RuntimeError, match="stopped"):
        run_or_load(small, stop, runtime=every_step, **options)
    path = tmp_path / small.path / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    run = run_or_load(small, probe, runtime=every_step, **options)
    assert [r.get("loss") for r in run.records] == [r.get("loss") for r in whole.records]
    assert [r["step"] for r in run.records] == [r["step"] for r in whole.records]


def test_a_run_without_the_records_of_its_checkpoints_is_refused(workspace, tmp_path):
    small = dataclasses.replace(SMALL, name="gone")
    checkpoints = tmp_path / small.path / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "step0000009.safetensors").touch()
    with pytest.raises(ValueError, match=r"metrics\.jsonl lacks step 0"):
        run_or_load(small, never, runtime=PLAIN, scratch=tmp_path, progress=False)


def test_changed_code_makes_a_run_dirty_and_results_do_not(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    for name in ("myst.yml", "code.py", "results/searches.journal"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "all")):
        subprocess.run(["git", *command], check=True)
    runtime = PLAIN.resolve(0)
    assert environment(runtime)["dirty"] is False
    (tmp_path / "results/searches.journal").write_text("a trial")
    assert environment(runtime)["dirty"] is False
    (tmp_path / "code.py").write_text("changed = True")
    assert environment(runtime)["dirty"] is True

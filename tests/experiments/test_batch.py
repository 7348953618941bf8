"""Batches: nothing lost, nothing run twice, on after failures, side by side or one by one."""

import multiprocessing
from dataclasses import replace

import pytest
from batch_probes import always_killed, failing_probe, killed_once, no_probe
from made import PLAIN, small_disk

from lmcore.config import with_fields
from lmcore.experiments.batch import ERROR_FILE, run_batch, scratch_folder
from lmcore.experiments.fitting import fitted, on_text
from lmcore.experiments.metrics_file import read_metrics
from lmcore.experiments.status import progress_of
from lmcore.locks import locked
from lmcore.studies.named.experiments import BASELINE, small

TINY = with_fields(
    small(BASELINE), {"train.steps": 4, "model.n_layers": 1, "task.scored_bytes": 500}
)


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """An empty workspace."""
    (tmp_path / "myst.yml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def seeds(*numbers):
    return [replace(TINY, seed=number) for number in numbers]


def batch(experiments, probe=no_probe, **options):
    return run_batch(experiments, probe, runtime=PLAIN, **options)


def states(result):
    return [outcome.state for outcome in result.outcomes]


def numbers(result):
    """Return the recorded numbers of a batch's runs, without their times."""
    return [
        [
            {name: value for name, value in record.items() if name != "elapsed_s"}
            for record in read_metrics(run.folder / "metrics.jsonl")
        ]
        for run in result.runs
    ]


def test_jobs_side_by_side_give_the_numbers_of_one_by_one(workspace, monkeypatch):
    side_by_side = numbers(batch(seeds(1, 2), jobs=2))
    assert multiprocessing.active_children() == []
    (workspace / "other").mkdir()
    (workspace / "other" / "myst.yml").touch()
    monkeypatch.chdir(workspace / "other")
    assert numbers(batch(seeds(1, 2))) == side_by_side


def test_a_finished_run_is_not_run_again():
    first = batch(seeds(1)).runs[0].folder / "metrics.jsonl"
    before = first.stat().st_mtime_ns
    assert states(batch(seeds(1, 2))) == ["finished", "finished"]
    assert first.stat().st_mtime_ns == before


def test_a_batch_goes_on_after_failures_and_says_what_failed_of_what():
    result = batch(seeds(1, 2), failing_probe)
    assert states(result) == ["failed", "failed"]
    assert "0 of 2 runs finished" in result.summary()
    assert "named/baseline/seed2 failed: this fails on generated" in result.summary()
    assert "failing_probe" in (scratch_folder(seeds(1)[0]) / ERROR_FILE).read_text()
    assert progress_of(seeds(1)[0]).stage == "failed"
    assert states(batch(seeds(1, 2))) == ["finished", "finished"]


def test_a_killed_worker_is_started_again_and_resumes():
    result = batch(seeds(1), killed_once, jobs=2)
    assert states(result) == ["finished"]
    assert len(result.runs[0].environment["sessions"]) == 2


def test_a_worker_that_is_killed_each_time_fails_with_its_status():
    result = batch(seeds(1), always_killed, jobs=2)
    assert "ended 2 times with status -9, as when memory runs out" in result.summary()
    assert progress_of(seeds(1)[0]).stage == "interrupted"


def test_a_run_of_another_batch_is_left_to_it():
    [experiment] = seeds(1)
    with locked(scratch_folder(experiment)):
        result = batch([experiment, *seeds(2)])
        assert states(result) == ["elsewhere", "finished"]
        assert "is being written by process" in result.summary()


def test_a_full_disk_fails_one_run_and_loses_nothing():
    batch(seeds(1))
    with small_disk(2_000):
        result = batch(seeds(1, 2))
    assert states(result) == ["finished", "failed"]
    assert "cannot be written" in result.summary()
    assert states(batch(seeds(1, 2))) == ["finished", "finished"]


def test_two_experiments_of_one_folder_are_an_error():
    with pytest.raises(ValueError, match=r"two experiments are called named/baseline/seed1"):
        batch(seeds(1, 1))


def test_a_vocabulary_that_a_text_lacks_is_said_and_the_one_it_has_is_trained(workspace):
    (workspace / "words.txt").write_text("a few words again and again\n" * 200)
    experiment = on_text(
        with_fields(BASELINE, {"train.steps": 2, "model.d_model": 16}), "words.txt"
    )
    shown = []
    [fits] = fitted([experiment], workspace / "words.txt", shown.append)
    reached = fits.model.vocab_size
    assert fits.task.vocab_size == reached < 50_257
    assert shown == [
        f"words.txt gives a vocabulary of {reached:,}, not 50,257: baseline is trained with "
        f"{reached:,}"
    ]


def test_a_finished_run_of_another_text_is_refused_by_name(workspace):
    for name in ("one.txt", "two.txt"):
        (workspace / name).write_text(f"some words of {name} and more of them\n" * 400)
    fields = {"task.vocab_size": 262, "model.vocab_size": 262}
    full = replace(with_fields(TINY, fields), scale="full")
    one, two = (with_fields(full, text=name) for name in ("one.txt", "two.txt"))
    assert states(batch([one], data=workspace / "one.txt")) == ["finished"]
    with pytest.raises(ValueError, match=r"is finished on one\.txt .*, this is two\.txt"):
        fitted([two], workspace / "two.txt")
    (workspace / "one.txt").write_text("some other words and more of them\n" * 400)
    with pytest.raises(ValueError, match=r"is finished on one\.txt .*, this is one\.txt"):
        fitted([one], workspace / "one.txt")

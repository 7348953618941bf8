"""Trackers get the numbers of the records, whole runs and resumed ones."""

import sys

import pytest
from made import PLAIN, TINY, made_score, text_source

from lmcore.experiments.metrics_file import read_metrics
from lmcore.experiments.text_config import text_run
from lmcore.experiments.text_run import train_text
from lmcore.model.gpt import GPT
from lmcore.training.config import TrainConfig
from lmcore.training.loop import train
from lmcore.training.records import Record
from lmcore.training.trackers import numbers_of, open_tracker, require_tracker, tracked


class Listed:
    """A tracker of one's own: a list."""

    def __init__(self):
        self.steps, self.is_finished = {}, False

    def log(self, numbers, step):
        self.steps[step] = numbers

    def finish(self):
        self.is_finished = True


def test_a_tracker_of_one_s_own_gets_each_record_of_a_training_loop():
    tracker = Listed()
    records = train(GPT(TINY), TrainConfig(steps=3), text_source(2), PLAIN)
    losses = {r.step: r.loss for r in tracked(records, tracker)}
    assert {step: n.get("train/loss") for step, n in tracker.steps.items()} == losses
    assert list(losses) == [0, 1, 2, 3]
    assert tracker.is_finished


def test_a_tracker_finishes_when_training_fails_or_is_left():
    def failing():
        yield Record(step=0, tokens=0, elapsed_s=0.0)
        raise KeyboardInterrupt

    for stop in (lambda records: list(records), lambda records: (next(records), records.close())):
        tracker = Listed()
        try:
            stop(tracked(failing(), tracker))
        except KeyboardInterrupt:
            assert list(tracker.steps) == [0]
        assert tracker.is_finished


def test_the_numbers_of_a_record_have_names_that_say_what_they_are():
    record = Record(
        step=2, tokens=64, elapsed_s=0.5, lr=0.1, loss=3.0, grad_norm=1.0,
        update_ratios={"head": 0.01}, scores={"validation": made_score(10)}, metrics={"words": 0.5},
    )  # fmt: skip
    numbers = numbers_of(record)
    assert numbers["train/loss"] == 3.0
    assert numbers["validation/bpb"] == made_score(10).bpb
    assert numbers["update_ratio/head"] == 0.01
    assert numbers["metrics/words"] == 0.5
    assert "train/weight_norm" not in numbers


def small(prepared, **changes):
    shape = {"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2, "batch_size": 4}
    return text_run(prepared, "tiny", {**shape, "steps": 6, "eval_every": 3, **changes})


def scalars(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(name)}


def test_tensorboard_has_the_numbers_of_metrics_jsonl_of_a_run_and_of_its_extension(
    text_data, tmp_path
):
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    train_text(text_data, out, small(text_data), runtime=PLAIN, track="tensorboard")
    train_text(text_data, out, small(text_data), runtime=PLAIN, track="tensorboard", extend_to=9)
    records = read_metrics(out / "metrics.jsonl")
    losses = {r["step"]: pytest.approx(r["loss"]) for r in records if "loss" in r}
    assert scalars(out / "tensorboard", "train/loss") == losses
    assert set(scalars(out / "tensorboard", "validation/bpb")) == {0, 3, 6, 9}


def test_weights_and_biases_writes_into_the_run_without_a_network(text_data, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    out = tmp_path / "run"
    train_text(text_data, out, small(text_data, steps=3), runtime=PLAIN, track="wandb")
    assert list(out.glob("wandb/offline-run-*/*.wandb"))


def test_trackio_writes_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    pytest.importorskip("trackio")
    tracker = open_tracker("trackio", "runs/first", config=TrainConfig(steps=1), run_id="a")
    assert len([*tracked([Record(step=0, tokens=0, elapsed_s=0.0, loss=1.0)], tracker)]) == 1
    assert (tmp_path / "lmcore.db").exists()


@pytest.mark.parametrize("kind", ["wandb", "tensorboard", "trackio"])
def test_a_package_that_is_missing_is_one_line_before_anything_is_written(
    text_data, tmp_path, monkeypatch, kind
):
    monkeypatch.setitem(sys.modules, kind, None)
    message = rf"tracking with {kind} needs {kind}: pip install 'lmcore\[{kind}\]'"
    with pytest.raises(ValueError, match=message):
        train_text(text_data, tmp_path / "run", small(text_data), track=kind)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_has_the_name_of_a_missing_package_does_not_stand_in_for_it(
    tmp_path, monkeypatch
):
    (tmp_path / "tensorboard").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "tensorboard", raising=False)
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if "jaxtyping" not in repr(f)])
    with pytest.raises(ValueError, match="pip install"):
        require_tracker("tensorboard")


def test_an_unknown_tracker_is_an_error_that_lists_those_there_are(tmp_path):
    with pytest.raises(ValueError, match="kind must be one of wandb, tensorboard, trackio"):
        open_tracker("mlflow", tmp_path)

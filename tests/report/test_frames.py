"""Tables and runs as frames of numbers."""

import io
import math
from pathlib import Path

import pandas as pd
import pytest
from made import made_score

from lmcore.config import with_fields
from lmcore.evaluation.score_types import Answers
from lmcore.experiments.run_folder import Run
from lmcore.report.frames import runs_frame
from lmcore.report.tables import Table, mean_sd, number
from lmcore.studies.baseline import experiments as baseline
from lmcore.studies.grokking import experiments as grokking


def text_run(seed, nats, lr=None):
    experiment = baseline.all_experiments((seed,))[0]
    if lr is not None:
        experiment = with_fields(experiment, lr=lr)
    environment = {"training_s": 60.0, "sessions": [{"commit": "a"}, {"commit": "b"}]}
    last = {"step": 9, "tokens": 90, "validation": made_score(nats)}
    return Run(Path(), experiment, [{"step": 0}, last], environment, {"test": made_score(nats)})


def test_a_frame_has_a_row_for_each_run_and_the_rates_of_its_scores():
    frame = runs_frame([text_run(1337, 10.0), text_run(1338, 20.0)])
    assert frame["seed"].tolist() == [1337, 1338]
    assert frame["validation.nats_per_character"].tolist() == [1.0, 2.0]
    assert frame["test.bpb"].tolist() == pytest.approx([0.5 / math.log(2), 1 / math.log(2)])
    assert frame["n_parameters"].tolist() == [27_172_864] * 2
    assert frame["commit"].tolist() == ["b", "b"]


def test_a_frame_has_those_config_fields_in_which_runs_differ():
    runs = [text_run(1337, 10.0), text_run(1337, 10.0, lr=0.5)]
    assert runs_frame(runs)["train.optimizer.lr"].tolist() == [0.006, 0.5]
    assert not [name for name in runs_frame(runs) if name.startswith("model.")]
    assert "train.optimizer.lr" not in runs_frame(runs[:1])


def test_runs_of_different_tasks_share_a_frame_and_lack_each_other_s_scores():
    answers = Answers(nats=1.0, n=4, n_correct=3, logit_rms=1.0)
    table = Run(Path(), grokking.FAST, [{"step": 5, "validation": answers}], {}, {})
    frame = runs_frame([text_run(1337, 10.0), table])
    assert frame["validation.accuracy"].tolist() == [0.2, 0.75]
    assert frame["validation.bpb"].isna().tolist() == [False, True]
    assert frame["task.p"].isna().tolist() == [True, False]


def test_every_committed_run_is_a_row_and_the_frame_survives_a_csv_file(committed_runs):
    frame = runs_frame(committed_runs)
    read = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert len(read) == len(committed_runs)
    assert frame.groupby("study").size().to_dict() == read.groupby("study").size().to_dict()
    losses = "validation.nats_per_character"
    pd.testing.assert_series_equal(read[losses], frame[losses], rtol=1e-15)
    diverged = [run.records[-1].get("validation") is None for run in committed_runs]
    assert frame["validation.loss"].isna().tolist() == diverged


def test_a_table_s_frame_has_unrounded_numbers_and_the_spread_apart():
    rows = (
        ("a", mean_sd([1.0, 2.0, 4.0]), number(1234), "x"),
        ("b", mean_sd([None]), number(0.25, ".0%"), "y"),
        ("c", "not run", "", "z"),
    )
    frame = Table(("name", "loss", "size", "note"), rows).frame()
    assert list(frame) == ["name", "loss", "loss, sd", "size", "note"]
    assert frame["loss"].tolist()[0] == pytest.approx(7 / 3)
    assert frame["loss, sd"].tolist()[0] == pytest.approx((7 / 3) ** 0.5)
    assert frame["size"].tolist()[:2] == [1234, 0.25]
    assert frame[["loss", "size"]].isna().to_numpy()[1:].tolist() == [[True, False], [True, True]]
    assert frame["note"].tolist() == ["x", "y", "z"]


def test_a_number_is_drawn_as_text():
    table = Table(("n", "share"), ((number(27_172_864), number(0.125, ".1%")),))
    assert table.markdown().splitlines()[-1] == "| 27,172,864 | 12.5% |"
    assert "<td>27,172,864</td>" in table._repr_html_()

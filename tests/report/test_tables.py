"""The committed results, and the tables and figures that are drawn from them."""

import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
from made import made_score

from lmcore.cli.readme import with_findings
from lmcore.config import config_hash
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import (
    Table,
    mean_sd,
    scores,
    settings,
    validation,
)
from lmcore.studies import all_studies
from lmcore.studies.baseline import experiments as baseline
from lmcore.studies.baseline.measures import entropy_floor
from lmcore.tasks.file_text import FileTextConfig
from lmcore.tasks.stories import StoriesConfig
from lmcore.tasks.titles import TitlesConfig

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in (ROOT / "results").glob("*/*/*/config.json"))


def failures(runs, check):
    """Return the path of each run that check finds fault with, and what it says."""
    found = {run.config.path.as_posix(): check(run) for run in runs}
    return {path: fault for path, fault in found.items() if fault}


def trained(runs):
    return [run for run in runs if isinstance(run.config, Experiment)]


def test_committed_runs_read_back_from_the_folders_of_their_names(committed_runs):
    folders = [ROOT / "results" / run.config.path for run in committed_runs]
    assert folders == [run.folder for run in committed_runs] == FOLDERS


def test_committed_runs_are_named_experiments_of_their_studies(committed_runs):
    named = {name: set(study.experiments()) for name, study in all_studies().items()}
    assert [
        run.config.path for run in committed_runs if run.config not in named[run.config.study]
    ] == []


def fault_of_session(session):
    """Return what keeps a reader from repeating a run, or None."""
    if not re.fullmatch(r"[0-9a-f]{40}", session["commit"]) or session["dirty"]:
        return "not from committed code"
    if not session["device"] or session["precision"] not in ("float32", "bfloat16"):
        return "on an unnamed machine"
    return None


def test_committed_runs_were_made_from_committed_code_on_named_machines(committed_runs):
    def check(run):
        return [fault for s in run.environment["sessions"] if (fault := fault_of_session(s))]

    assert failures(committed_runs, check) == {}


def fault_of_survey(run):
    """Return what a survey failed to measure, or None."""
    if [row["step"] for row in run.records] != list(range(len(run.records))):
        return "rows are missing"
    if {row.get("text") or row["learned"] for row in run.records} != set(run.config.texts):
        return "texts are missing from its rows"
    if set(run.environment["data"]["texts"]) != set(run.config.texts):
        return "texts are missing from its environment"
    return None


def test_committed_surveys_measured_all_their_texts(committed_runs):
    surveys = [run for run in committed_runs if hasattr(run.config, "texts")]
    assert surveys
    assert failures(surveys, fault_of_survey) == {}


def fault_of_records(run):
    """Return which record or score is missing, or None."""
    plan, last = run.config.train.evaluation, run.records[-1]["step"]
    scoring = {
        step for step in (*plan.eval_at, *range(0, last, plan.eval_every or last)) if step <= last
    }
    scoring.add(last)
    due = {step for step in range(last) if step % plan.log_every == 0} | scoring
    if [record["step"] for record in run.records] != sorted(due):
        return "its records are not those that were due"
    scored = [record["validation"] for record in run.records if "validation" in record]
    if len(scored) != len(scoring):
        return "its scores are not those that were due"
    if isinstance(run.config.task, TitlesConfig | StoriesConfig | FileTextConfig):
        tests = [] if "diverged" in run.outcome else [run.outcome["test"]]
        is_whole = {score.coverage for score in [*scored, *tests]} == {1.0}
    else:
        is_whole = len({score.n for score in scored}) == 1
    return None if is_whole else "a score does not cover its whole set"


def test_committed_runs_have_a_record_where_one_is_due_and_score_every_token(committed_runs):
    assert failures(trained(committed_runs), fault_of_records) == {}


def test_no_run_folder_is_incomplete():
    folders = {path.parent for path in (ROOT / "results").rglob("*.json*")}
    assert folders == set(FOLDERS)


def test_the_readme_s_table_is_what_the_results_say(committed_runs):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_findings(text, {run.config: run for run in committed_runs}) == text


def test_the_manifest_s_runs_are_committed_with_the_hash_it_names(committed_runs):
    hashes = {run.config.path.as_posix(): config_hash(run.config) for run in committed_runs}
    manifest = json.loads((ROOT / "figures/manifest.json").read_text())
    drawn = {
        (path, digest) for entry in manifest.values() for path, digest in entry["runs"].items()
    }
    assert drawn <= set(hashes.items())


def test_the_manifest_s_files_are_those_that_figures_were_drawn_from():
    for entry in json.loads((ROOT / "figures/manifest.json").read_text()).values():
        for path, digest in entry.get("files", {}).items():
            assert plotting.file_hash(ROOT / path) == digest


def test_every_study_has_a_notebook_of_its_name():
    stems = {path.stem.split("_", 1)[1] for path in (ROOT / "notebooks").glob("*.py")}
    published = {name for name, study in all_studies().items() if study.is_published}
    assert stems == {*published, "your_own_text"}


def test_a_mean_has_its_sample_standard_deviation_unless_all_values_are_equal():
    assert mean_sd([1.0, 2.0, 3.0], 2) == "2.00 ± 1.00"
    assert mean_sd([0.5], 3) == "0.500"
    assert mean_sd([0.95, 0.95], 2) == "0.95"


def test_a_table_reads_the_same_in_html_and_markdown_and_escapes_what_html_would_eat():
    table = Table(("token", "n"), (("<eos>", "3"),))
    assert table.markdown() == "| token | n |\n| --- | --- |\n| &lt;eos> | 3 |"
    assert "<td>&lt;eos&gt;</td><td>3</td>" in table._repr_html_()


def test_the_table_of_settings_holds_what_differs_and_nothing_else():
    table = settings(baseline.all_experiments())
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["train.optimizer.lr"] == ("0.006", "2.0")
    assert rows["seeds"] == ("1337, 1338, 1339",) * 2
    assert "train.optimizer.max_grad_norm" not in rows


def test_the_table_of_settings_of_many_experiments_has_a_row_for_each():
    first = baseline.all_experiments((1,))[0]
    table = settings([dataclasses.replace(first, name=name) for name in "abcdef"])
    assert table.header == ("setting", "seeds")
    assert table.rows == tuple((name, "1") for name in "abcdef")


def made_run(tmp_path: Path, seed: int, nats: float) -> Run:
    score = made_score(nats, of_tokens=5)
    experiment = baseline.all_experiments((seed,))[0]
    return Run(
        tmp_path / "results" / experiment.path,
        experiment,
        [
            {"step": 0, "validation": score, "challenge": score},
            {"step": 1, "loss": nats, "validation": score, "challenge": score},
        ],
        {"training_s": 60.0, "data": {"text_sha256": "0"}},
        {"test": score},
    )


def test_scores_are_computed_from_what_was_counted(tmp_path):
    table = scores({"made": [made_run(tmp_path, 1337, 10.0), made_run(tmp_path, 1338, 20.0)]})
    row = dict(table.rows)
    assert row["validation, nats/character"] == "1.5000 ± 0.7071"
    assert (
        row["validation, bits/byte"] == f"{0.75 / math.log(2):.4f} ± {0.5**1.5 / math.log(2):.4f}"
    )
    assert row["training, minutes"] == "1.0"
    assert row["parameters"] == "27,172,864"


def test_a_curve_is_the_mean_over_runs_in_a_band_from_least_to_greatest(tmp_path):
    runs = [made_run(tmp_path, 1337, 1.0), made_run(tmp_path, 1338, 3.0)]
    fig, ax = plotting.plt.subplots()
    steps, mean = plotting.curves(ax, runs, lambda r: r.get("loss"), label="loss")
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (steps.tolist(), mean.tolist()) == ([1], [2.0])
    assert (band.ymin, band.ymax) == (1.0, 3.0)
    plotting.plt.close(fig)


def test_the_same_runs_give_the_same_bytes_of_figure(tmp_path):
    run, drawn = made_run(tmp_path, 1337, 1.0), []
    with plotting.mpl.rc_context():
        plotting.use_style()
        for _ in range(2):
            fig, ax = plotting.plt.subplots()
            plotting.curves(ax, [run], lambda r: r.get("loss"), label="loss")
            plotting.save(fig, "fig-made", [run])
            drawn.append((tmp_path / "figures/fig-made.svg").read_bytes())
    assert drawn[0] == drawn[1]


def test_a_figure_refuses_runs_of_two_scales(tmp_path):
    runs = [made_run(tmp_path / part, 1337, 1.0) for part in ("", ".smoke")]
    fig, _ = plotting.plt.subplots()
    with pytest.raises(ValueError, match="fig-mixed needs runs of one scale"):
        plotting.save(fig, "fig-mixed", runs)
    plotting.plt.close(fig)


def test_the_floor_of_real_titles_is_unknown():
    with pytest.raises(ValueError, match="entropy is unknown"):
        entropy_floor(baseline.BASELINE)


def test_the_generated_run_lies_above_its_floor_and_within_a_few_percent_of_it(committed_runs):
    known = [run for run in committed_runs if run.config.name == "known-entropy"]
    ratios = [validation(run).nats_per_character / entropy_floor(run.config) for run in known]
    assert len(known) == 3
    assert min(ratios) >= 1
    assert max(ratios) < 1.06


def test_names_at_the_ends_of_lines_stand_apart_in_the_order_of_the_lines():
    fig, ax = plotting.plt.subplots()
    ends = {"low": 0.0, "mid": 0.001, "close": 0.002, "high": 1.0}
    for name, end in ends.items():
        ax.plot([0, 1], [0, end], label=name)
    ax.plot([0, 1], [0, 0.5])
    plotting.name_ends(ax, gap=10.0)
    fig.draw_without_rendering()
    places = {text.get_text(): text.get_window_extent().y0 * 72 / fig.dpi for text in ax.texts}
    assert sorted(places, key=places.get) == list(ends)
    assert places["mid"] - places["low"] == pytest.approx(10, abs=0.5)
    assert places["close"] - places["mid"] == pytest.approx(10, abs=0.5)
    plotting.plt.close(fig)

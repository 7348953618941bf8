"""Finished runs are trained again and compared, and each names code that is in the history."""

import dataclasses
import shutil

import pytest

from lmcore.experiments.checksums import write_sums
from lmcore.experiments.reproduce import (
    NOTES,
    ancestors,
    bounds,
    commits,
    final_score,
    first_difference,
    read_notes,
    repeat,
    replace_run,
    runs_of_lost_commits,
)
from lmcore.experiments.run_folder import load_run
from lmcore.experiments.runner import load
from lmcore.files import read_json, write_json
from lmcore.studies.baseline.probes import probe

LOST = 430
"""Committed runs that name a commit which was squashed before it came here. It only falls."""


@pytest.fixture(scope="module")
def repeated(smoke_run, tmp_path_factory):
    """A finished smoke run, its repeat, and the folder of the repeat."""
    workspace, run = smoke_run
    into = tmp_path_factory.mktemp("repeats")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        return run, repeat(run, probe, into, 0.1), into


def test_the_same_config_on_the_same_machine_gives_the_same_numbers(repeated):
    _, comparison, _ = repeated
    assert comparison.verdict == "identical"
    assert comparison.same_machine
    assert comparison.before == comparison.after


def test_another_number_is_found_at_its_step():
    before = [{"step": step, "loss": 1.0 / (step + 1), "elapsed_s": step} for step in range(5)]
    after = [record | {"elapsed_s": 9.0} for record in before]
    assert first_difference(before, after) is None
    after[3] = after[3] | {"loss": 0.5}
    assert first_difference(before, after) == 3
    assert first_difference(before, before[:4]) == 4
    assert first_difference(before, [*before[:2], before[2] | {"extra": 1}, *before[3:]]) == 2


def test_runs_agree_within_the_range_over_seeds_and_else_differ(repeated):
    _, comparison, _ = repeated
    near = dataclasses.replace(comparison, first_difference=1, before=2.0, after=2.1, bound=0.1001)
    assert near.verdict == "agrees"
    assert dataclasses.replace(near, bound=0.09).verdict == "differs"


def test_one_seed_is_bounded_by_a_share_of_its_score(repeated):
    run, _, _ = repeated
    assert bounds([run]) == {run.config.name: pytest.approx(0.02 * final_score(run))}
    assert bounds([run, run]) == {run.config.name: 0.0}


def test_a_repeat_replaces_its_run_and_is_noted(repeated, tmp_path, monkeypatch):
    run, comparison, into = repeated
    copy = tmp_path / "results" / run.config.path
    shutil.copytree(run.folder, copy)
    run = load_run(copy, type(run.config))
    shutil.copytree(into, tmp_path / "into")
    known = dataclasses.replace(comparison, repeated_at="a" * 40)
    monkeypatch.setattr("lmcore.experiments.reproduce.ancestors", lambda: frozenset({"a" * 40}))
    replace_run(run, known, tmp_path / "into")
    assert read_notes(tmp_path / "results" / run.config.study / NOTES) == [known]
    assert load(run.config, tmp_path / "results").outcome == run.outcome


def test_a_repeat_of_code_outside_the_history_replaces_nothing(repeated):
    run, comparison, into = repeated
    with pytest.raises(ValueError, match="names no commit of this history"):
        replace_run(run, dataclasses.replace(comparison, repeated_at="f" * 40), into)
    assert run.folder.exists()


def test_each_committed_run_names_a_commit_of_the_history(committed_runs):
    known = ancestors()
    if len(known) < 2:
        pytest.skip("this checkout has no history: clone it without --depth to check the commits")
    lost = [run.folder for run in committed_runs if not known.issuperset(commits(run))]
    assert len(lost) == LOST, f"set LOST to {len(lost)}" if len(lost) < LOST else lost[-5:]
    assert not any(s["dirty"] for run in committed_runs for s in run.environment["sessions"])


def test_runs_of_lost_commits_are_chosen(smoke_run, tmp_path, monkeypatch):
    shutil.copytree(smoke_run[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    run = load(smoke_run[1].config)
    monkeypatch.setattr("lmcore.experiments.reproduce.ancestors", lambda: frozenset({"b" * 40}))
    path = run.folder / "environment.json"
    facts = read_json(path)
    for commit, expected in (("b" * 40, []), ("c" * 40, [run.folder])):
        sessions = [session | {"commit": commit} for session in facts["sessions"]]
        write_json(path, facts | {"sessions": sessions})
        write_sums(run.folder)
        assert [lost.folder for lost in runs_of_lost_commits([run.config])] == expected

"""A search with Optuna: trials are run folders, and a search that was stopped goes on."""

import pytest
from batch_probes import no_probe
from made import PLAIN

from lmcore.config import with_fields
from lmcore.experiments.search import Choice, Range, parse_space, search, trials_in
from lmcore.locks import LockedError, locked
from lmcore.studies.named.experiments import BASELINE, small

pytest.importorskip("optuna")

TINY = with_fields(
    small(BASELINE), {"train.steps": 4, "model.n_layers": 1, "task.scored_bytes": 500}
)
SPACE = {"train.optimizer.lr": Range(low=1e-4, high=1e-1), "model.d_model": Choice(values=(8, 16))}


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """An empty workspace."""
    (tmp_path / "myst.yml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def searched(workspace, n_trials, probe=no_probe, **options):
    storage = workspace / "trials.journal"
    return search(TINY, SPACE, probe, storage=storage, n_trials=n_trials, runtime=PLAIN, **options)


def folders(workspace):
    """Return the folders of runs, finished or not."""
    return {path.parent for path in workspace.glob(".smoke/runs/named/*/seed*/config.json")}


def test_every_trial_is_a_run_folder_and_the_best_has_the_fewest_bits(workspace):
    result = searched(workspace, 6)
    tried = [trial for trial in result.trials if trial.state in ("complete", "pruned")]
    assert len(tried) == len(folders(workspace)) == 6
    assert result.best.bpb == min(trial.bpb for trial in tried if trial.bpb is not None)


def test_a_search_that_goes_on_has_the_trials_of_before(workspace):
    first = searched(workspace, 2)
    assert searched(workspace, 3).trials[:2] == first.trials
    assert searched(workspace, 3) == trials_in(workspace / "trials.journal", TINY.name)


def test_an_interrupted_trial_is_tried_first_and_not_counted_twice(workspace):
    def stopped(model, corpus):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        searched(workspace, 2, stopped)
    [folder] = folders(workspace)
    result = searched(workspace, 2)
    first, again = result.trials[:2]
    assert (first.state, again.state) == ("fail", "complete")
    assert first.fields == again.fields
    assert len(folders(workspace)) == 2
    assert folder in folders(workspace)


def test_trials_outside_the_budget_are_not_run(workspace, monkeypatch):
    monkeypatch.setattr("lmcore.experiments.search.MOST_DRAWS", 12)
    result = searched(workspace, 2, is_allowed=lambda run: run.model.d_model == 8)
    run = [trial for trial in result.trials if trial.bpb is not None]
    assert {trial.fields["model.d_model"] for trial in run} == {8}
    with pytest.raises(ValueError, match=r"none of 12 draws around baseline is allowed"):
        searched(workspace, 3, is_allowed=lambda run: False)


def test_one_storage_serves_one_search_at_a_time(workspace):
    with locked(workspace / "trials.journal"), pytest.raises(LockedError, match=r"trials\.journal"):
        searched(workspace, 1)


def test_a_space_is_read_from_text():
    assert parse_space("train.lr=1e-4..1e-2", TINY) == (
        "train.optimizer.lr",
        Range(low=1e-4, high=1e-2),
    )
    assert parse_space("n_layers=1,2", TINY) == ("model.n_layers", Choice(values=(1, 2)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr=1e-2..1e-4", r"goes up, not from 0\.01 to 0\.0001"),
        ("lr=1..2..3", r"no range: write lr=LOW\.\.HIGH"),
        ("lr=low..high", r"no range"),
        ("heads=1,2", r"no field heads"),
    ],
)
def test_a_wrong_space_is_an_error_that_quotes_it(text, message):
    with pytest.raises(ValueError, match=message):
        parse_space(text, TINY)

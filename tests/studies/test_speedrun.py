"""Races over many seeds: each line is what training that seed gives, and they resume."""

from dataclasses import replace
from pathlib import Path

import pytest

from lmcore.experiments.experiment import smoke
from lmcore.experiments.run_folder import Run, RunWriter
from lmcore.studies.grokking import experiments as grokking
from lmcore.studies.speedrun import experiments as speedrun
from lmcore.studies.speedrun import runner
from lmcore.studies.speedrun.tables import leaderboard, quantile, solving_steps

SMALL = speedrun.smoke(speedrun.shares()[0])


def steps_without_time(run):
    return [{k: v for k, v in record.items() if k != "cpu_s"} for record in run.records]


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "myst.yml").touch()
    monkeypatch.chdir(tmp_path)


def test_a_recipe_takes_the_setting_that_the_grokking_study_tuned():
    for name, method in speedrun.RECIPES.items():
        lr, _ = grokking.TUNED[method]
        assert speedrun.recipe(name).train.optimizer.lr == lr


def test_races_use_seeds_that_nothing_was_tuned_on():
    tuned = {*grokking.SEEDS, *grokking.TUNING_SEEDS, *grokking.DRAWN_SEEDS}
    for race in speedrun.all_experiments():
        assert tuned.isdisjoint(range(race.seed, race.seed + race.n_seeds))


def test_races_have_different_names_and_experiments():
    races = speedrun.all_experiments()
    assert len({race.name for race in races}) == len(races)
    half_of_97 = {name for name in speedrun.RECIPES if name != "plain-adamw"}
    distinct = {race.experiment for race in races}
    assert len(distinct) == len(races) - len(half_of_97)


def test_an_interrupted_race_goes_on_with_the_same_lines(here):
    with pytest.MonkeyPatch.context() as patch:
        calls = []

        def result(experiment, runtime):
            if len(calls) == 1:
                raise KeyboardInterrupt
            calls.append(experiment.seed)
            return runner_result(experiment, runtime)

        runner_result = runner.result
        patch.setattr(runner, "result", result)
        with pytest.raises(KeyboardInterrupt):
            runner.run_or_load(SMALL, progress=False)
    resumed = runner.run_or_load(SMALL, progress=False)
    assert [record["seed"] for record in resumed.records] == [1001, 1002]
    fresh = replace(SMALL, name="fresh")
    assert steps_without_time(resumed) == steps_without_time(runner.run_or_load(fresh, False))


def test_a_race_of_another_config_is_refused(here):
    other = replace(SMALL, n_seeds=3)
    RunWriter(SMALL.root / "runs" / SMALL.path, other).close()
    with pytest.raises(ValueError, match="another config"):
        runner.run_or_load(SMALL, progress=False)


def test_solved_is_where_the_last_five_evaluations_began_to_hold():
    good, bad = 0.995, 0.98
    scored = [(step, 1.0, good if step != 20 else bad) for step in range(0, 80, 10)]
    assert runner.solved_step(scored) == 30
    assert runner.solved_step(scored[:7]) is None
    assert runner.solved_step(scored[-4:]) is None


def test_quantiles_count_unsolved_seeds_as_slowest():
    records = [{"solved": step, "cpu_s": 1.0} for step in (300, None, 100, 200)]
    run = Run(Path(), SMALL, records, {}, {})
    assert quantile(run, 0.5) == 200
    assert quantile(run, 0.75) == 300
    assert solving_steps(run)[-1] == float("inf")
    row = leaderboard([run]).rows[0]
    assert row[3] == "3 of 4"
    assert row[-2] == "–"


def test_the_small_version_is_that_of_the_experiment():
    race = speedrun.all_experiments()[-1]
    assert speedrun.smoke(race).experiment == smoke(race.experiment)

"""Races over many seeds: each line is what training that seed gives, and they resume."""

from dataclasses import replace
from pathlib import Path

import pytest

from lmcore.experiments.experiment import smoke
from lmcore.experiments.run_folder import Run, RunWriter
from lmcore.studies.grokking import experiments as grokking
from lmcore.studies.speedrun import experiments as speedrun
from lmcore.studies.speedrun import leaderboard as tables
from lmcore.studies.speedrun import runner

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
    fast = speedrun.recipe(speedrun.FASTEST)
    assert fast.model == grokking.FAST.model
    assert fast.train.optimizer == grokking.FAST.train.optimizer
    assert fast.train.schedule == grokking.FAST.train.schedule


def test_races_use_seeds_that_nothing_was_tuned_on():
    tuned = {*grokking.SEEDS, *grokking.TUNING_SEEDS, *grokking.DRAWN_SEEDS}
    for race in speedrun.all_experiments():
        assert tuned.isdisjoint(range(race.seed, race.seed + race.n_seeds))


def test_the_heats_of_a_race_have_its_experiment_and_share_no_seed():
    by_name = {}
    for race in speedrun.all_experiments():
        by_name.setdefault(race.name, []).append(race)
    for heats in by_name.values():
        seeds = [seed for race in heats for seed in range(race.seed, race.seed + race.n_seeds)]
        assert seeds == list(range(speedrun.FIRST_SEED, speedrun.FIRST_SEED + len(seeds)))
        assert len({race.experiment for race in heats}) == 1
    distinct = {heats[0].experiment for heats in by_name.values()}
    assert len(distinct) == len(by_name) - len(speedrun.ACROSS_PRIMES)  # 97 is a prime too


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


def heat(first, *steps):
    """Return a run whose seeds solved their tables at these steps, None for never."""
    records = [
        {"seed": first + i, "solved": s, "cpu_s": 1.0, "epochs": 2.0} for i, s in enumerate(steps)
    ]
    return Run(Path(), replace(SMALL, seed=first, n_seeds=len(steps)), records, {}, {})


def test_quantiles_count_unsolved_seeds_as_slowest_over_all_heats():
    heats = [heat(1003, 100, 200), heat(1001, 300, None)]
    assert tables.quantile(heats, 0.5) == 200
    assert tables.quantile(heats, 0.75) == 300
    assert tables.solving_steps(heats)[-1] == float("inf")
    assert tables.solved(heats) == "3 of 4"
    assert [record["seed"] for record in tables.lines(tables.races(heats)[SMALL.name])] == [
        1001, 1002, 1003, 1004,
    ]  # fmt: skip


def test_the_leaderboard_ranks_by_the_median_and_leaves_out_races_of_few_seeds():
    def race(name, *steps):
        run = heat(1001, *steps)
        return replace(run, config=replace(run.config, name=name))

    n = tables.LEAST
    runs = [race("slow", *n * [300]), race("few", *(n - 1) * [10]), race("fast", *n * [200])]
    rows = tables.leaderboard(runs).rows
    assert [row[4] for row in rows] == ["200", "300"]
    never = tables.leaderboard([race("never", *n * [None])]).rows[0]
    assert never[3:8] == (f"0 of {n}", "–", "–", "–", "–––")


def test_the_interval_of_a_median_holds_it_and_narrows_with_more_seeds():
    steps = list(range(100, 300, 10))
    few, many = [heat(1001, *steps)], [heat(1001, *20 * steps)]
    for heats in (few, many):
        low, high = tables.median_interval(heats)
        assert low <= tables.quantile(heats, 0.5) <= high
    width = [high - low for low, high in map(tables.median_interval, (few, many))]
    assert width[1] < width[0]


def test_the_page_has_the_rules_and_says_so_while_no_race_is_long_enough():
    text = tables.written_leaderboard([])
    assert all(rule in text for rule in speedrun.RULES)
    assert f"No recipe has {tables.LEAST} seeds yet" in text
    assert f"0 of {len(speedrun.PRIMES)} primes" in text
    full = tables.written_leaderboard([heat(1001, *tables.LEAST * [200])])
    assert "200" in full
    assert "leaderboard is empty" not in full


def test_the_table_of_primes_says_what_was_not_run():
    rows = tables.prime_table([heat(1001, 100, None)]).rows
    p = SMALL.experiment.task.p
    assert rows == ((str(p), f"{p * (p - 1) // 2:,}", "100 (1 of 2)"),)


def test_the_small_version_is_that_of_the_experiment():
    race = speedrun.all_experiments()[-1]
    assert speedrun.smoke(race).experiment == smoke(race.experiment)

"""Tables of the test of key waves and of the delay, read off runs made by hand."""

import itertools
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import table_of

from lmcore.experiments.run_folder import Run
from lmcore.studies.grokking import delay, experiments, keytables, measures

NAMES = ("whole", "only keys", "projected", "without keys", "both only keys", "both without keys")


def probed(name, seed, whole, only_keys, with_leak=1.0):
    """Return a run with this result of the test, and the same share for all else."""
    result = {"keys": [[1, 2], [1, 2, 3]], **dict.fromkeys(NAMES, 0.5)}
    result |= {"whole": whole, "only keys": only_keys}
    probe = {"claim": {"only keys": with_leak}, "without leak": result}
    config = replace(experiments.STEADY, name=name, seed=seed)
    return Run(Path(), config, [], {}, {"probe": probe})


RUNS = [
    probed("keys-good", 1, 1.0, 1.0),
    probed("keys-good", 2, 0.995, 0.6),
    probed("keys-good", 3, 0.9, 1.0),
    probed("keys-memory", 1, 0.02, 0.2),
]
UNTESTED = Run(Path(), experiments.STEADY, [], {}, {"probe": {}})


def test_ranges_are_of_runs_that_know_the_unseen_pairs_and_others_are_counted():
    good, memory = keytables.key_table([*RUNS, UNTESTED]).rows
    assert good[:5] == ("good", "2 of 3", "1 of 2", "2–3", "60–100 %")
    assert memory[:4] == ("memory", "0 of 1", "–", "–")
    assert set(memory[4:]) == {"–"}


def test_every_run_that_fails_or_does_not_know_the_pairs_is_named():
    rows = keytables.exception_table([*RUNS, UNTESTED]).rows
    assert [row[:2] for row in rows] == [("good", "2"), ("good", "3"), ("memory", "1")]
    assert rows[0][2:6] == ("2/3", "99.5%", "100.0%", "60.0%")


def test_a_lookup_table_passes_with_the_leak_and_is_at_chance_without():
    scores = keytables.lookup_scores(table_of("/", p=31))
    assert len(scores) == len(keytables.LOOKUP_SHARES)
    assert all(without < 0.2 < with_leak for with_leak, without in scores)


def test_the_figure_has_a_mark_for_each_tested_run_and_each_lookup_table():
    (ax,) = keytables.plot_tests([*RUNS, UNTESTED], table_of("/", p=13)).axes
    marks = [len(line.get_xdata()) for line in ax.lines if line.get_marker() not in ("None", "")]
    assert sum(marks) == len(RUNS) + len(keytables.LOOKUP_SHARES)
    plt.close("all")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 0.04, 0.05], "1 of 3 seeds 100.0 %, others 4.0–5.0 %"),
        ([0.2, 0.9, 0.95, None], "2 of 4 seeds 90.0–95.0 %, others 20.0 %"),
        ([0.75, 0.97, 0.99], "90.3 ± 13.3 %"),
        ([0.5], "50.0 %"),
        ([None], "none of 1"),
    ],
)
def test_seeds_in_two_groups_have_no_mean(values, text):
    assert measures.percent_by_group(values) == text


@given(values=st.lists(st.floats(0, 1), min_size=2))
def test_a_mean_is_given_exactly_where_no_two_neighbours_are_half_the_scale_apart(values):
    ordered = sorted(values)
    is_split = any(b - a >= measures.APART for a, b in itertools.pairwise(ordered))
    assert ("others" in measures.percent_by_group(values)) == is_split


def test_unsolved_seeds_count_as_slowest_in_a_median():
    assert delay.median_and_range([3, None, 1], 1) == "3.0 (1.0–3.0), 2 of 3"
    assert delay.median_and_range([None, None, 1]) == "– (1–1), 1 of 3"
    assert delay.median_and_range([None]) == "none of 1"

"""Comparisons: the Pareto front, and power laws with their error."""

import math

import pytest

from lmcore.report.comparison import at_cost, pareto, power_law


def test_the_pareto_front_has_the_points_that_no_other_beats():
    costs, losses = [3.0, 1.0, 2.0, 2.5, 4.0], [1.0, 3.0, 2.0, 2.5, 1.0]
    assert pareto(costs, losses) == [1, 2, 0]


@pytest.mark.parametrize("exponent", [0.05, 0.3])
def test_a_power_law_is_read_from_points_on_it(exponent):
    sizes = [16, 32, 64, 96]
    law = power_law(sizes, [2.0 * size**-exponent for size in sizes])
    assert law.exponent == pytest.approx(exponent)
    assert law.exponent_error == pytest.approx(0, abs=1e-9)
    assert law.at(50) == pytest.approx(2.0 * 50**-exponent)


def test_one_size_gives_no_line():
    with pytest.raises(ValueError, match=r"two different sizes, not \[16\]"):
        power_law([16, 16], [1.0, 2.0])


def test_a_run_s_own_time_gives_its_last_score_however_the_time_rounds(committed_runs):
    run = next(run for run in committed_runs if run.config.name == "eighth-embd_small")
    steps, last = run.records[-1]["step"], run.records[-1]["validation"].bpb
    for total_s in (23.1, 22.94, 17.3, 0.7, 1e-3):
        assert at_cost(run, total_s / steps, total_s) == pytest.approx(last)
    assert math.isnan(at_cost(run, 1.0, steps + 1.0))

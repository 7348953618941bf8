"""The schedules' laws: where they start, where they are highest, how they fall, where they end."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmcore.training.schedule import constant, cosine, linear, multiplier, warmup_stable_decay

floors = st.floats(0, 1)
kinds = st.sampled_from(["constant", "cosine", "linear", "wsd", "wsd-linear"])
falling = st.sampled_from(["cosine", "linear", "wsd", "wsd-linear"])


@st.composite
def plans(draw):
    """Return (steps, warmup, decay_fraction) with some steps left after warmup."""
    steps = draw(st.integers(1, 200))
    warmup = draw(st.integers(0, steps - 1))
    return steps, warmup, draw(st.integers(0, steps - warmup)) / steps


def curve(kind, plan, floor):
    """Return the multipliers at each step of the plan and the two after it."""
    steps, warmup, fraction = plan
    return [multiplier(kind, step, steps, warmup, floor, fraction) for step in range(steps + 2)]


def steepest(kind, plan):
    """Return the most that a schedule with floor 0 can change in one step, by its derivative."""
    steps, warmup, fraction = plan
    decay = round(fraction * steps) if kind.startswith("wsd") else steps - warmup
    fall = {
        "constant": 0.0,
        "cosine": math.pi / 2 / decay if decay else 1.0,
        "wsd": math.sqrt(1 / max(decay, 1)),
    }.get(kind, 1 / max(decay, 1))
    return max(fall, 1 / warmup if warmup else 0.0) + 1e-12


@given(kind=kinds, plan=plans(), floor=floors)
def test_it_is_zero_at_step_zero_with_a_warmup(kind, plan, floor):
    assert curve(kind, plan, floor)[0] == 0 or plan[1] == 0


@given(kind=kinds, plan=plans(), floor=floors)
def test_warmup_is_linear(kind, plan, floor):
    warmup = plan[1]
    line = [step / warmup for step in range(warmup)]
    assert curve(kind, plan, floor)[:warmup] == pytest.approx(line)


@given(kind=kinds, plan=plans(), floor=floors)
def test_it_is_one_at_the_end_of_warmup(kind, plan, floor):
    assert curve(kind, plan, floor)[plan[1]] == pytest.approx(1)


@given(kind=kinds, plan=plans(), floor=floors)
def test_it_is_never_negative_and_never_above_one(kind, plan, floor):
    assert all(0 <= value <= 1 for value in curve(kind, plan, floor))


@given(kind=kinds, plan=plans(), floor=floors)
def test_after_warmup_it_never_rises_and_never_falls_below_the_floor(kind, plan, floor):
    after = curve(kind, plan, floor)[plan[1] :]
    assert after == sorted(after, reverse=True)
    assert after[-1] >= floor


@given(kind=falling, plan=plans(), floor=floors, later=st.integers(0, 100))
def test_it_is_the_floor_at_the_end_and_after_it(kind, plan, floor, later):
    steps, warmup, fraction = plan
    assert multiplier(kind, steps + later, steps, warmup, floor, fraction) == floor


@given(kind=kinds, plan=plans())
def test_it_never_jumps_further_than_its_slope(kind, plan):
    values = curve(kind, plan, 0.0)
    jumps = [abs(b - a) for a, b in itertools.pairwise(values)]
    assert max(jumps) <= steepest(kind, plan)


@given(kind=falling, plan=plans(), floor=floors)
def test_the_floor_squeezes_the_fall_and_leaves_its_shape(kind, plan, floor):
    warmup = plan[1]
    to_zero = curve(kind, plan, 0.0)[warmup:]
    squeezed = [floor + (1 - floor) * value for value in to_zero]
    assert curve(kind, plan, floor)[warmup:] == pytest.approx(squeezed)


@given(half=st.integers(1, 200), warmup=st.integers(0, 50), floor=floors)
def test_half_way_down_cosine_and_line_are_the_mean_of_one_and_the_floor(half, warmup, floor):
    steps = warmup + 2 * half
    middle = [shape(warmup + half, steps, warmup, floor) for shape in (cosine, linear)]
    assert middle == pytest.approx([(1 + floor) / 2] * 2)


def test_a_quarter_of_the_way_the_cosine_is_what_the_formula_gives_by_hand():
    assert cosine(25, 100) == pytest.approx((1 + math.sqrt(0.5)) / 2)


def test_a_quarter_into_its_decay_one_minus_sqrt_is_half_way_down():
    assert warmup_stable_decay(85, 100, decay_steps=20, shape="1-sqrt") == pytest.approx(0.5)


@given(kind=st.sampled_from(["wsd", "wsd-linear"]), plan=plans(), floor=floors)
def test_before_its_decay_a_stable_schedule_is_constant(kind, plan, floor):
    steps, warmup, fraction = plan
    start = steps - round(fraction * steps)
    plain = [constant(step, steps, warmup) for step in range(start)]
    assert curve(kind, plan, floor)[:start] == plain


@given(plan=plans(), floor=floors)
def test_a_stable_schedule_that_decays_at_once_is_linear(plan, floor):
    steps, warmup, _ = plan
    at_once = (steps, warmup, (steps - warmup) / steps)
    assert curve("wsd-linear", at_once, floor) == curve("linear", plan, floor)


@given(plan=plans(), floor=floors)
def test_one_minus_sqrt_lies_below_the_line(plan, floor):
    pairs = zip(curve("wsd", plan, floor), curve("wsd-linear", plan, floor), strict=True)
    assert all(below <= above for below, above in pairs)


def test_the_decay_fraction_is_of_all_steps():
    values = curve("wsd-linear", (100, 50, 0.1), 0.0)
    assert (values[90], values[91]) == pytest.approx((1.0, 0.9))


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"warmup_steps": 11}, "warmup_steps must be between 0 and the 10 steps, not 11"),
        ({"warmup_steps": -1}, "not -1"),
        ({"min_lr_ratio": 1.5}, "min_lr_ratio must be between 0 and 1, not 1.5"),
        ({"min_lr_ratio": -0.5}, "not -0.5"),
        (
            {"warmup_steps": 6, "decay_fraction": 0.5},
            "5 steps of decay do not fit into 10 .* 6 of warm",
        ),
        ({"decay_fraction": -0.2}, "-2 steps of decay"),
    ],
)
def test_numbers_that_contradict_each_other_are_an_error_that_says_them(numbers, told):
    with pytest.raises(ValueError, match=told):
        multiplier("wsd", 0, 10, **numbers)


@pytest.mark.parametrize("kind", ["constant", "cosine", "linear", "wsd", "wsd-linear"])
def test_every_schedule_refuses_a_warmup_longer_than_the_run(kind):
    with pytest.raises(ValueError, match="not 11"):
        multiplier(kind, 0, 10, warmup_steps=11)


def test_an_unknown_schedule_is_an_error_that_names_those_there_are():
    with pytest.raises(ValueError, match="unknown schedule 'step': take constant, cosine, linear"):
        multiplier("step", 0, 10)

"""The cosine schedule's laws: where it starts, where it is highest, where it ends."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmcore.schedule import cosine

floors = st.floats(0, 1)


@st.composite
def plans(draw):
    """Return (steps, warmup) with some steps left after warmup."""
    steps = draw(st.integers(1, 500))
    return steps, draw(st.integers(0, steps - 1))


@given(steps=st.integers(2, 500), floor=floors)
def test_it_is_zero_at_step_zero_with_a_warmup(steps, floor):
    assert cosine(0, steps, warmup=steps - 1, floor=floor) == 0


@given(plan=plans(), floor=floors)
def test_it_is_one_at_the_end_of_warmup(plan, floor):
    steps, warmup = plan
    assert cosine(warmup, steps, warmup, floor) == pytest.approx(1)


@given(plan=plans(), floor=floors, later=st.integers(0, 100))
def test_it_is_the_floor_at_the_end_and_after_it(plan, floor, later):
    steps, warmup = plan
    assert cosine(steps + later, steps, warmup, floor) == floor


@given(plan=plans(), floor=floors)
def test_it_rises_through_warmup_and_never_rises_again(plan, floor):
    steps, warmup = plan
    values = [cosine(step, steps, warmup, floor) for step in range(steps + 2)]
    assert values[: warmup + 1] == sorted(values[: warmup + 1])
    assert values[warmup:] == sorted(values[warmup:], reverse=True)


@given(steps=st.integers(2, 500), warmup=st.integers(1, 499))
def test_warmup_is_linear(steps, warmup):
    assert [cosine(step, steps + warmup, warmup) for step in range(warmup)] == pytest.approx(
        [step / warmup for step in range(warmup)]
    )


@given(half=st.integers(1, 200), warmup=st.integers(0, 50), floor=floors)
def test_half_way_down_it_is_the_mean_of_one_and_the_floor(half, warmup, floor):
    middle = cosine(warmup + half, warmup + 2 * half, warmup, floor)
    assert middle == pytest.approx((1 + floor) / 2)


def test_a_quarter_of_the_way_it_is_what_the_formula_gives_by_hand():
    assert cosine(25, 100) == pytest.approx((1 + math.sqrt(0.5)) / 2)

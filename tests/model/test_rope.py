"""Rotary positions: a rotation, relative, in neighbouring pairs, with a base that matters."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmcore.model.rope import (
    RopeScaling,
    adjacent_to_half_split,
    half_split_to_adjacent,
    rope_table,
    rotate,
)

BASES = st.floats(2, 1e6)


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def turned(x, positions, base=10_000.0):
    return rotate(x, *rope_table(torch.as_tensor(positions), x.shape[-1], base))


@given(half=st.integers(1, 16), position=st.integers(0, 4_000), base=BASES)
def test_a_pair_turns_by_its_position_times_a_power_of_the_base(half, position, base):
    x = rows(1, 2 * half)
    pairs = x[0].double().numpy().reshape(half, 2)
    angles = position * base ** (-2 * np.arange(half) / (2 * half))
    as_complex = (pairs[:, 0] + 1j * pairs[:, 1]) * np.exp(1j * angles)
    expected = np.stack([as_complex.real, as_complex.imag], -1).reshape(-1)
    # float32 holds an angle of some thousand radians to about 1e-4
    np.testing.assert_allclose(
        turned(x, [position], base)[0], expected, atol=1e-6 + 5e-7 * position
    )


@given(position=st.integers(0, 100_000), base=BASES)
def test_turning_keeps_the_norm(position, base):
    x = rows(3, 1, 8)
    torch.testing.assert_close(turned(x, [position], base).norm(dim=-1), x.norm(dim=-1))


@given(m=st.integers(0, 500), n=st.integers(0, 500), shift=st.integers(0, 500), base=BASES)
def test_the_product_of_two_turned_vectors_depends_on_their_distance_alone(m, n, shift, base):
    q, k = rows(1, 16, seed=1), rows(1, 16, seed=2)
    near = (turned(q, [m], base) * turned(k, [n], base)).sum()
    far = (turned(q, [m + shift], base) * turned(k, [n + shift], base)).sum()
    torch.testing.assert_close(near, far, rtol=0, atol=2e-3)


def test_position_zero_turns_nothing():
    x = rows(1, 8)
    assert torch.equal(turned(x, [0]), x)


def test_another_base_gives_another_table():
    tables = [rope_table(torch.arange(8), 8, base)[0] for base in (10_000.0, 500_000.0)]
    assert not torch.equal(*tables)


def test_the_table_is_float32_whatever_is_turned():
    cos, sin = rope_table(torch.arange(4), 8, 10_000.0)
    assert (cos.dtype, sin.dtype) == (torch.float32, torch.float32)


def test_what_is_turned_keeps_its_dtype():
    assert turned(rows(4, 8).bfloat16(), range(4)).dtype == torch.bfloat16


def test_products_in_bfloat16_are_taken_in_float32():
    x = rows(4, 8).bfloat16()
    expected = turned(x.float(), [9_000] * 4).bfloat16()
    assert torch.equal(turned(x, [9_000] * 4), expected)


def test_positions_may_differ_between_rows_of_a_batch():
    x = rows(2, 3, 8)
    cos, sin = rope_table(torch.tensor([[0, 1, 2], [7, 8, 9]]), 8, 10_000.0)
    alone = torch.stack([turned(x[0], [0, 1, 2]), turned(x[1], [7, 8, 9])])
    torch.testing.assert_close(rotate(x, cos, sin), alone)


def test_a_table_broadcasts_over_batch_and_heads():
    x = rows(2, 3, 5, 8)
    torch.testing.assert_close(turned(x, range(5))[1, 2], turned(x[1, 2], range(5)))


@pytest.mark.parametrize(("d_head", "base"), [(7, 10_000.0), (8, 0.0), (8, -1.0)])
def test_an_odd_head_or_a_base_of_zero_is_an_error_with_both(d_head, base):
    with pytest.raises(ValueError, match=f"d_head {d_head}, base {base}"):
        rope_table(torch.arange(2), d_head, base)


@given(heads=st.integers(1, 4), half=st.integers(1, 8))
def test_reordering_for_halves_and_back_is_the_identity(heads, half):
    weight = rows(heads * 2 * half, 3)
    there = adjacent_to_half_split(weight, 2 * half)
    assert torch.equal(half_split_to_adjacent(there, 2 * half), weight)


def test_reordering_brings_a_feature_and_its_partner_together():
    weight = torch.arange(8)  # two heads of four: in halves, 0 is paired with 2 and 1 with 3
    assert half_split_to_adjacent(weight, 4).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


STRETCH = RopeScaling(
    factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context_length=128
)


def test_stretching_leaves_fast_waves_and_slows_slow_ones_by_the_factor():
    fast, slow = 2 * math.pi * 5 / 128, 2 * math.pi * 0.5 / 128
    found = STRETCH.apply(torch.tensor([fast, slow]))
    torch.testing.assert_close(found, torch.tensor([fast, slow / 8]))


@given(a=st.floats(1e-4, 1.0), b=st.floats(1e-4, 1.0))
def test_stretching_keeps_the_order_of_frequencies(a, b):
    slow, fast = STRETCH.apply(torch.tensor(sorted((a, b))))
    assert slow <= fast


def test_a_stretch_whose_bounds_cross_is_an_error_with_both():
    with pytest.raises(
        ValueError, match=r"low_freq_factor 4\.0 must be above 0 and below high_freq_factor 1\.0"
    ):
        RopeScaling(
            factor=8.0, low_freq_factor=4.0, high_freq_factor=1.0, original_context_length=128
        )

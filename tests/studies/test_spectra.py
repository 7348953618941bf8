"""Logarithms invert powers, waves are found where they are, and a table of waves knows its sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmcore.studies.grokking.spectra import (
    along,
    by_logarithm,
    discrete_logarithm,
    excluded,
    gini,
    key_frequencies,
    loss_and_accuracy,
    power,
    powers,
    primitive_root,
    restricted,
    share_by_frequency,
    shares,
    table_power,
    wave_power,
    waves,
)

PRIMES = [2, 3, 5, 7, 13, 97, 113]
signs = st.sampled_from([1, -1])
sizes = st.integers(2, 13)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def pairs(n):
    return np.ogrid[:n, :n]


def quotients(p):
    """Return a / b mod p of all a and b but zero, in the order of logarithms."""
    a, b = np.ogrid[1:p, 1:p]
    inverse = np.array([pow(int(residue), -1, p) for residue in b[0]])
    return by_logarithm(np.pad(a * inverse % p, (1, 0)), axes=2)


# Logarithms


@pytest.mark.parametrize("p", PRIMES)
def test_the_powers_of_the_root_are_all_residues_but_zero(p):
    assert sorted(powers(p)) == list(range(1, p))


@pytest.mark.parametrize("p", PRIMES)
def test_the_logarithm_inverts_powers(p):
    x = np.arange(1, p)
    logarithms = discrete_logarithm(x, p)
    assert [pow(primitive_root(p), int(k), p) for k in logarithms] == x.tolist()


@pytest.mark.parametrize("p", PRIMES)
def test_the_logarithm_of_a_product_is_the_sum_of_logarithms(p):
    x, y = (values.flatten() for values in np.meshgrid(np.arange(1, p), np.arange(1, p)))
    total = discrete_logarithm(x, p) + discrete_logarithm(y, p)
    np.testing.assert_array_equal(discrete_logarithm(x * y, p), total % (p - 1))


@pytest.mark.parametrize(("p", "root"), [(2, 1), (3, 2), (7, 3), (23, 5), (41, 6), (97, 5)])
def test_the_least_primitive_root_is_the_one_in_tables(p, root):
    assert primitive_root(p) == root


@pytest.mark.parametrize("p", [-3, 0, 1, 4, 9, 91, 96, 97 * 97])
def test_a_number_that_is_no_prime_is_an_error_that_names_it(p):
    with pytest.raises(ValueError, match=f"{p} is not a prime"):
        primitive_root(p)


@pytest.mark.parametrize("x", [0, 97])
def test_the_logarithm_of_zero_is_an_error(x):
    with pytest.raises(ValueError, match="0 mod 97 has no logarithm"):
        discrete_logarithm(np.array([1, x]), 97)


def test_in_the_order_of_logarithms_division_is_subtraction():
    table, order = quotients(97), powers(97)
    a, b = pairs(96)
    np.testing.assert_array_equal(table, order[(a - b) % 96])


def test_embeddings_in_the_order_of_logarithms_leave_out_zero():
    values = np.arange(7) * 10
    assert by_logarithm(values, axes=1).tolist() == [10, 30, 20, 60, 40, 50]


# Power


@given(n=sizes, seed=st.integers(0, 9))
def test_the_power_of_all_frequencies_is_the_sum_of_squares(n, seed):
    values = random(n, 3, seed=seed)
    np.testing.assert_allclose(power(values).sum(0), (values**2).sum(0))


@given(n=sizes, seed=st.integers(0, 9))
def test_the_power_of_all_pairs_of_frequencies_is_the_sum_of_squares(n, seed):
    table = random(n, n, 3, seed=seed)
    np.testing.assert_allclose(table_power(table).sum((0, 1)), (table**2).sum((0, 1)))


@given(n=sizes, sign=signs, seed=st.integers(0, 9))
def test_what_waves_of_sums_hold_is_no_more_than_the_sum_of_squares(n, sign, seed):
    table = random(n, n, seed=seed)
    assert wave_power(table, sign).sum() <= (table**2).sum() * (1 + 1e-12)


@given(n=sizes, sign=signs, seed=st.integers(0, 9))
def test_a_table_of_sums_holds_all_its_power_in_their_waves(n, sign, seed):
    a, b = pairs(n)
    table = random(n, seed=seed)[(a + sign * b) % n]
    np.testing.assert_allclose(wave_power(table, sign).sum(), (table**2).sum())


@pytest.mark.parametrize("k", [1, 7, 31, 48])
def test_a_pure_character_has_all_its_power_at_its_frequency(k):
    logarithms = discrete_logarithm(np.arange(1, 97), 97)
    character = np.concatenate([[5.0], np.cos(2 * np.pi * k * logarithms / 96)])
    result = shares(power(by_logarithm(character, axes=1)))
    np.testing.assert_allclose(result, np.arange(1, 49) == k, atol=1e-12)


@given(k=st.integers(1, 6), j=st.integers(1, 6))
def test_a_wave_in_each_of_a_and_b_stands_at_its_pair_of_frequencies(k, j):
    a, b = pairs(13)
    result = table_power(np.cos(2 * np.pi * (k * a + j * b) / 13))
    expected = np.zeros((13, 13))
    expected[k, j] = expected[-k, -j] = 13**2 / 4
    np.testing.assert_allclose(result, expected, atol=1e-9)


def test_a_constant_alone_has_no_shares():
    assert shares(power(np.ones((5, 2)))).tolist() == [[0, 0], [0, 0]]


@given(n=st.integers(4, 13), seed=st.integers(0, 9), data=st.data())
def test_a_neuron_of_one_frequency_is_explained_by_it(n, seed, data):
    k = data.draw(st.integers(1, n // 2))
    a, b = pairs(n)
    read = [f(2 * np.pi * k * x / n) for f in (np.cos, np.sin) for x in (a, b)]
    read += [read[0] * read[1], read[2] * read[3], read[0] * read[3], 1.0]
    neuron = sum(c * wave for c, wave in zip(random(8, seed=seed), read, strict=True))
    np.testing.assert_allclose(share_by_frequency(neuron)[k - 1], 1)


def test_a_dead_neuron_is_explained_by_nothing():
    assert not share_by_frequency(np.ones((6, 6, 2))).any()


def test_noise_is_explained_by_each_frequency_about_alike():
    result = share_by_frequency(random(97, 97))
    assert result.max() < 0.01  # 8 of 9,408 modes each, 0.00085 on average


# Restricted and excluded


@given(n=sizes, sign=signs, seed=st.integers(0, 9))
def test_restricted_to_all_frequencies_logits_are_their_means_along_equal_answers(n, sign, seed):
    logits = random(n, n, 3, seed=seed)
    a, b = pairs(n)
    every = list(range(1, n // 2 + 1))
    expected = along(logits, sign)[(a + sign * b) % n]
    np.testing.assert_allclose(restricted(logits, every, sign), expected, atol=1e-12)


@given(n=sizes, sign=signs, seed=st.integers(0, 9))
def test_logits_that_know_only_the_answer_are_unchanged_by_all_frequencies(n, sign, seed):
    a, b = pairs(n)
    logits = random(n, 3, seed=seed)[(a + sign * b) % n]
    every = list(range(1, n // 2 + 1))
    np.testing.assert_allclose(restricted(logits, every, sign), logits, atol=1e-12)


@given(n=sizes, sign=signs, seed=st.integers(0, 9), data=st.data())
def test_restricted_and_excluded_logits_are_the_logits_and_once_more_their_mean(
    n, sign, seed, data
):
    logits = random(n, n, 3, seed=seed)
    some = data.draw(st.lists(st.integers(1, n // 2), unique=True))
    both = restricted(logits, some, sign) + excluded(logits, some, sign)
    np.testing.assert_allclose(both, logits + logits.mean((0, 1)), atol=1e-12)


@given(n=st.integers(4, 13), sign=signs, seed=st.integers(0, 9))
def test_taking_waves_twice_takes_them_once(n, sign, seed):
    logits = random(n, n, 3, seed=seed)
    once = waves(logits, [1, 2], sign)
    np.testing.assert_allclose(waves(once, [1, 2], sign), once, atol=1e-12)
    np.testing.assert_allclose(waves(excluded(logits, [1, 2], sign), [1, 2], sign), 0, atol=1e-12)


KEYS = [4, 11, 30, 41]


def made_by_hand(n, sign):
    """Return logits Σ cos(2πk(a + sign · b - c) / n) over KEYS with some noise, and the answers."""
    a, b = pairs(n)
    answers = (a + sign * b) % n
    angles = 2 * np.pi * (answers[..., None] - np.arange(n)) / n
    logits = sum(np.cos(k * angles) for k in KEYS)
    return logits + 0.2 * random(n, n, n), answers


@pytest.mark.parametrize("n", [97, 96])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_table_made_of_waves_is_right_with_them_and_at_chance_without(n, sign):
    logits, answers = made_by_hand(n, sign)
    result = key_frequencies(shares(wave_power(logits, sign).sum(-1)), together=0.9)
    assert sorted(result) == KEYS
    loss, accuracy = loss_and_accuracy(10 * restricted(logits, result, sign), answers)
    assert accuracy == 1
    assert loss < np.log(n) / 10
    loss, accuracy = loss_and_accuracy(10 * excluded(logits, result, sign), answers)
    assert accuracy == pytest.approx(1 / n, abs=0.005)
    assert loss > np.log(n)


def test_waves_of_the_other_sign_know_nothing_of_the_answer():
    logits, answers = made_by_hand(97, 1)
    assert loss_and_accuracy(restricted(logits, KEYS, -1), answers)[1] < 0.02


@pytest.mark.parametrize("k", [0, -1, 49])
def test_a_frequency_that_is_no_wave_is_an_error_that_says_which_are(k):
    with pytest.raises(ValueError, match=r"97 values have frequencies 1 to 48, not \["):
        restricted(np.zeros((97, 97, 2)), [k], 1)


def test_single_precision_is_computed_in_double():
    logits = random(6, 6, 3).astype(np.float32)
    assert {f(logits, 1).dtype.name for f in (along, wave_power)} == {"float64"}
    assert {f(logits).dtype.name for f in (power, table_power)} == {"float64"}


# Choosing frequencies, Gini, loss


def test_key_frequencies_are_the_fewest_that_hold_the_share_together():
    share = np.array([0.1, 0.5, 0.0, 0.3, 0.1])
    assert [key_frequencies(share, part) for part in (0.5, 0.6, 0.85)] == [[2], [2, 4], [2, 4, 1]]


@pytest.mark.parametrize(
    ("share", "together", "text"),
    [(np.ones(3), 0.0, "not 0.0"), (np.ones(3), 1.0, "not 1.0"), (np.zeros(3), 0.5, "are zero")],
)
def test_key_frequencies_of_nothing_are_an_error(share, together, text):
    with pytest.raises(ValueError, match=text):
        key_frequencies(share, together)


@given(n=st.integers(2, 50), value=st.floats(0.1, 10))
def test_the_gini_coefficient_is_0_where_all_is_equal_and_nearly_1_where_one_has_all(n, value):
    assert gini(np.full(n, value)) == pytest.approx(0)
    assert gini(value * np.eye(n)[n // 2]) == pytest.approx(1 - 1 / n)


@given(seed=st.integers(0, 9))
def test_the_gini_coefficient_is_the_mean_difference_of_pairs_over_twice_the_mean(seed):
    values = np.abs(random(9, seed=seed))
    differences = np.abs(values[:, None] - values)
    assert gini(values) == pytest.approx(differences.mean() / (2 * values.mean()))


@pytest.mark.parametrize("values", [np.zeros(3), np.array([1.0, -1.0])])
def test_a_gini_coefficient_that_has_no_meaning_is_an_error(values):
    with pytest.raises(ValueError, match="zero and above, not all zero"):
        gini(values)


def test_even_logits_lose_the_logarithm_of_their_number():
    loss, _ = loss_and_accuracy(np.full((4, 5, 7), 1e4), np.zeros((4, 5), dtype=int))
    assert loss == pytest.approx(np.log(7))

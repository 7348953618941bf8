"""The grammar's entropy is what an enumeration of its titles gives, and its titles follow it."""

import math
from collections import Counter

import numpy as np
import pytest

from lmcore.data import grammar


def test_the_probabilities_of_all_titles_sum_to_one():
    assert math.fsum(grammar.probabilities().values()) == pytest.approx(1, abs=1e-12)


def test_the_entropy_is_that_of_the_enumerated_titles_so_no_title_has_two_derivations():
    nats = -math.fsum(p * math.log(p) for p in grammar.probabilities().values())
    assert grammar.entropy() == pytest.approx(nats, abs=1e-9)


def test_titles_are_drawn_with_their_probabilities():
    n = 40_000
    counts = Counter(grammar.titles(n, seed=0))
    expected = {title: n * p for title, p in grammar.probabilities().items()}
    often = [title for title, number in expected.items() if number >= 5]
    observed = np.array([*(counts[t] for t in often), n - sum(counts[t] for t in often)])
    hoped = np.array([*(expected[t] for t in often), n - sum(expected[t] for t in often)])
    chi_square = ((observed - hoped) ** 2 / hoped).sum()
    degrees = len(hoped) - 1
    assert abs(chi_square - degrees) < 4 * math.sqrt(2 * degrees)


def test_only_titles_of_the_grammar_are_drawn():
    assert set(grammar.titles(2_000, seed=1)) <= set(grammar.probabilities())


def test_the_same_seed_gives_the_same_titles():
    assert grammar.titles(200, seed=5) == grammar.titles(200, seed=5)


def test_another_seed_gives_other_titles():
    assert grammar.titles(200, seed=5) != grammar.titles(200, seed=6)


def test_the_surprise_of_a_title_tends_to_the_entropy():
    n = 100_000
    logs = np.log(list(grammar.probabilities().values()))
    spread = math.sqrt((np.exp(logs) @ logs**2 - grammar.entropy() ** 2) / n)
    surprise = grammar.surprise(grammar.titles(n, seed=2)) / n
    assert abs(surprise - grammar.entropy()) < 4 * spread


def test_the_surprise_of_one_title_is_minus_the_log_of_its_probability():
    title, p = next(iter(grammar.probabilities().items()))
    assert grammar.surprise([title, title]) == pytest.approx(-2 * math.log(p))


@pytest.mark.parametrize("slot", grammar.SLOTS)
def test_a_slot_follows_zipfs_law(slot):
    weights = grammar.weights(slot)
    assert weights[0] / weights == pytest.approx(np.arange(1, len(weights) + 1))

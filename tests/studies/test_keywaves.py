"""The test of key waves tells a solver from a lookup table, which the test with a leak does not."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made import table_of
from studies.test_circuits import by_heart, made_of_waves, memorised, model_of

from lmcore.studies.grokking import circuits, keywaves, spectra
from lmcore.tasks.modular import ModularConfig

DIVISION = ModularConfig(operations=("/",), p=97, seed=101)
four = pytest.mark.parametrize("operation", list(circuits.SIGNS))
signs = st.sampled_from([1, -1])
KEYS = [2, 5, 11]


def masks(n, seed=0, share=0.5):
    """Return two masks of pairs that share none and leave some out."""
    drawn = np.random.default_rng(seed).random((n, n))
    return drawn < share / 2, (drawn >= share / 2) & (drawn < share)


def made_logits(n, sign, keys, noise=0.0):
    """Return logits Σ cos(2πk(a + sign · b - c) / n) over keys with some noise, and the answers."""
    answers = keywaves.sums(n, sign)
    angles = 2 * np.pi * (answers[..., None] - np.arange(n)) / n
    logits = sum(np.cos(k * angles) for k in keys)
    return logits + noise * np.random.default_rng(0).normal(size=logits.shape), answers


@torch.no_grad()
def solver(config):
    """Return a model whose neurons read waves of a and b, and whose logits are waves of a ± b.

    A ReLU of cos(x + φ) + cos(y + φ + δ), times cos(2φ + δ + z) and added over the phases φ, is
    cos(x + y - z) times something of x - y, which added over the shifts δ hardly changes. Neurons
    that read no wave stay silent, and a little noise in the logits outweighs rounding.
    """
    order, sign, p = circuits.order_of(config), circuits.SIGNS[config.operations[0]], config.p
    n, place = len(order), np.zeros(p)
    place[order] = np.arange(n)
    phases, shifts = (2 * np.pi * np.arange(m) / m for m in (16, 4))
    k, phase, shift = (x.ravel()[:, None] for x in np.meshgrid(KEYS, phases, shifts))
    turns = 2 * np.pi * k * place / n
    of_a, of_b = np.cos(turns + phase), np.cos(sign * turns + phase + shift)
    down = np.cos(2 * phase + shift + turns)
    down += 0.02 * np.random.default_rng(0).normal(size=down.shape)
    if n < p:  # zero has no logarithm: it is no answer, and nobody asks for it
        of_a[:, 0], of_b[:, 0], down[:, 0] = 0, 0, -1
    return model_of(of_a, of_b, np.full(len(k), -0.01), down)


# The leak


@pytest.mark.parametrize("share", [0.2, 0.3, 0.4, 0.5])
def test_a_lookup_table_passes_the_test_with_a_leak_and_not_the_one_without(share):
    ((data, logits),) = keywaves.lookup_tables(DIVISION, [share])
    answers, seen = circuits.grid(data.config)[1], circuits.trained_pairs(data)
    assert keywaves.share_right(logits, answers, seen) > 0.99
    keys, with_leak = keywaves.leaking(logits, answers, seen, -1)
    assert with_leak > 0.99
    assert len(keys) == 43
    without = keywaves.both_ways(logits, answers, keywaves.unseen_halves(data), -1)
    assert max(without.values()) < 0.025


def test_the_test_with_a_leak_is_that_of_the_claim():
    data = table_of("/").prepare()
    model = memorised(data)
    claim = circuits.claim(model, data)
    table, answers = circuits.logit_table(model, data.config), circuits.grid(data.config)[1]
    keys, found = keywaves.leaking(table, answers, circuits.trained_pairs(data), -1)
    assert (keys, found) == (claim["keys"], claim["only keys"])


@given(sign=signs, seed=st.integers(0, 9))
def test_what_is_judged_does_not_change_what_is_fitted_nor_does_training(sign, seed):
    table, _ = made_logits(11, sign, [2, 3], noise=1.0)
    half, _ = masks(11, seed)
    other = np.where(half[..., None], table, 1e6)
    before, after = (keywaves.Fit.of(each, half, sign) for each in (table, other))
    np.testing.assert_array_equal(before.means, after.means)
    assert before.ranked() == after.ranked()


@pytest.mark.parametrize("n", [97, 96])
@pytest.mark.parametrize("sign", [1, -1])
def test_logits_of_waves_are_right_with_them_and_at_chance_without(n, sign):
    keys = [4, 11, 30, 41]
    table, answers = made_logits(n, sign, keys, noise=0.01)
    halves = masks(n, share=0.6)
    assert all(sorted(keywaves.Fit.of(table, half, sign).ranked()[0]) == keys for half in halves)
    found = keywaves.both_ways(table, answers, halves, sign)
    assert found["whole"] == found["only keys"] == found["projected"] == 1
    assert max(found[name] for name in ("without keys", "only others", "projected out")) < 0.03


@given(n=st.integers(7, 13), sign=signs, seed=st.integers(0, 9))
def test_waves_without_noise_are_fitted_exactly_from_any_pairs_that_reach_all_sums(n, sign, seed):
    table, answers = made_logits(n, sign, [1, 3])
    pairs = masks(n, seed)[0]
    pairs[:, 0] = True
    waves = keywaves.Fit.of(table, pairs, sign).waves([1, 3])
    np.testing.assert_allclose(waves[answers], table, atol=1e-9)


@given(n=st.integers(4, 13), sign=signs, seed=st.integers(0, 9))
def test_fitted_on_all_pairs_waves_are_those_of_the_spectrum(n, sign, seed):
    table = np.random.default_rng(seed).normal(size=(n, n, 3))
    waves = keywaves.Fit.of(table, np.ones((n, n), bool), sign).waves([1, n // 2])
    expected = spectra.waves(table, sorted({1, n // 2}), sign)
    np.testing.assert_allclose(waves[keywaves.sums(n, sign)], expected, atol=1e-9)


@given(sign=signs, seed=st.integers(0, 9))
def test_directions_are_orthonormal_and_hold_the_waves(sign, seed):
    table = np.random.default_rng(seed).normal(size=(11, 11, 7))
    fit = keywaves.Fit.of(table, masks(11, seed)[0], sign)
    found, waves = fit.directions([1, 4]), fit.waves([1, 4])
    np.testing.assert_allclose(found @ found.T, np.eye(len(found)), atol=1e-9)
    np.testing.assert_allclose(waves @ found.T @ found, waves, atol=1e-9)


# In a model


@four
def test_the_unseen_pairs_are_halved_and_none_was_trained_on(operation):
    data = table_of(operation).prepare()
    first, second = keywaves.unseen_halves(data)
    parts = np.stack([first, second, circuits.trained_pairs(data)])
    n = len(circuits.order_of(data.config))
    no_row = n * n - parts.any(0).sum()
    np.testing.assert_array_equal(parts.sum(0).max(), 1)
    assert no_row == (n if operation == "/" and n == data.config.p else 0)


@four
def test_a_solver_made_of_waves_needs_them_in_logits_and_weights_and_nothing_else(operation):
    data = table_of(operation, p=31).prepare()
    found = keywaves.probe(solver(data.config), data)
    assert [sorted(keys) for keys in found["keys"]] == [KEYS, KEYS]
    kept = ("whole", "only keys", "projected")
    assert [found[name] for name in kept] == [1, 1, 1]
    assert {found[f"{place} only keys"] for place in keywaves.PLACES} == {1}
    lost = [found[f"{place} without keys"] for place in keywaves.PLACES]
    assert max(lost) < 0.1
    assert found["projected out"] < 0.1
    assert found["without keys"] < 0.2  # a mean wave leaves some where the pair's own is larger


@four
def test_what_was_learned_by_heart_is_no_wave_of_unseen_pairs(operation):
    data = table_of(operation).prepare()
    found = keywaves.probe(memorised(data), data)
    shares = [value for name, value in found.items() if name != "keys"]
    assert max(shares) < 0.35
    assert json.dumps(found, allow_nan=False)


def test_all_frequencies_kept_change_nothing_and_no_frequency_removed_neither():
    config = table_of("/")
    model, every = made_of_waves(config), list(range(1, 7))
    whole = circuits.logit_table(model, config)
    for keys, keep in ((every, True), ([], False)):
        for place in keywaves.PLACES:
            found = circuits.logit_table(keywaves.ablated(model, config, keys, place, keep), config)
            np.testing.assert_allclose(found, whole, atol=1e-3)


def test_an_ablation_changes_the_rows_of_numbers_at_its_place_and_keeps_their_mean():
    config = table_of("/", p=7)
    model = by_heart(np.random.default_rng(0).normal(size=(7, 7, 7)))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    for keep in (True, False):
        changed = keywaves.ablated(model, config, [1], "embedding", keep).state_dict()
        names = {name for name in before if not torch.equal(before[name], changed[name])}
        assert names == {"token_embedding.weight"}
        old, new = before["token_embedding.weight"], changed["token_embedding.weight"]
        assert torch.equal(old[[0, 7]], new[[0, 7]])
        torch.testing.assert_close(old[1:7].mean(0), new[1:7].mean(0))
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_the_two_tests_of_a_lookup_table_stand_side_by_side():
    table = keywaves.lookup_table(DIVISION, [0.3])
    ((share, n_keys, _, with_leak, *without),) = table.rows
    assert (share, n_keys, with_leak) == ("30%", "43", "100.0%")
    assert max(float(each.rstrip("%")) for each in without) < 2.5


def test_history_tells_when_waves_answer_unseen_pairs_and_by_heart_they_never_do():
    data = table_of("/", p=31).prepare()
    solved, by_memory = solver(data.config), memorised(data)
    found = keywaves.history(iter([(1, by_memory), (2, solved)]), solved, data)
    assert found["step"] == [1, 2]
    assert found["only keys"][0] < 0.15
    assert found["whole"][0] < 0.15
    assert (found["only keys"][1], found["whole"][1]) == (1, 1)
    assert found["loss"][1] < np.log(31) / 2 < found["loss"][0]

"""Dropout takes its share, independently and repeatably."""

import math

import pytest
import torch

from lmcore.model.dropout import drop

N = 400_000
shares = pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])


def dropped(dropout, seed=0):
    """Return what drop leaves of ones."""
    torch.manual_seed(seed)
    return drop(torch.ones(N), dropout)


@shares
def test_dropout_takes_its_share(dropout):
    share = (dropped(dropout) == 0).float().mean().item()
    assert abs(share - dropout) < 4 * math.sqrt(dropout * (1 - dropout) / N)


@shares
def test_dropout_keeps_the_mean(dropout):
    mean = dropped(dropout).mean().item()
    assert abs(mean - 1) < 4 * math.sqrt(dropout / (1 - dropout) / N)


@shares
@pytest.mark.parametrize("distance", [1, 2, 3, 4])
def test_neighbours_are_dropped_independently(dropout, distance):
    kept = (dropped(dropout) != 0).double()
    kept = (kept - (1 - dropout)) / math.sqrt(dropout * (1 - dropout))
    assert abs((kept[distance:] * kept[:-distance]).mean().item()) < 5 / math.sqrt(N)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 7])
def test_dropout_takes_any_size(n):
    torch.manual_seed(0)
    assert drop(torch.ones(n), 0.5).shape == (n,)


def test_the_gradient_passes_where_the_value_passed():
    x = torch.ones(1_000, requires_grad=True)
    y = drop(x, 0.3)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())


def test_two_calls_drop_different_elements():
    torch.manual_seed(0)
    assert not torch.equal(drop(torch.ones(100), 0.5), drop(torch.ones(100), 0.5))


def test_a_seed_fixes_what_is_dropped():
    assert torch.equal(dropped(0.5, seed=3), dropped(0.5, seed=3))


def test_no_dropout_draws_no_random_number():
    before = torch.get_rng_state()
    drop(torch.ones(10), 0.0)
    assert torch.equal(torch.get_rng_state(), before)

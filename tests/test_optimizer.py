"""Our SGD and clipping against torch's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lmcore.optimizer import SGD, clip_gradient


def walk(optimizer_kind, steps=1_000, **options):
    """Return where steps on a curved float64 surface lead, the learning rate falling."""
    generator = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.randn(7, generator=generator, dtype=torch.float64))
    pull = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    optimizer = optimizer_kind([p], lr=1e-2, **options)
    for step in range(steps):
        optimizer.zero_grad()
        ((pull @ p).square().sum() + p.sin().sum()).backward()
        optimizer.param_groups[0]["lr"] = 1e-2 / (1 + step / 100)
        optimizer.step()
    return p.detach()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_thousand_steps_equal_torchs_in_float64(weight_decay):
    ours, theirs = (walk(kind, weight_decay=weight_decay) for kind in (SGD, torch.optim.SGD))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_decay_is_part_of_the_gradient_so_it_follows_the_learning_rate():
    p = nn.Parameter(torch.tensor([2.0]))
    p.grad = torch.tensor([1.0])
    SGD([p], lr=0.5, weight_decay=0.1).step()
    assert p.item() == pytest.approx(2.0 - 0.5 * (1.0 + 0.1 * 2.0))


def test_a_parameter_without_a_gradient_stays_where_it_is():
    p = nn.Parameter(torch.ones(3))
    SGD([p], lr=1.0, weight_decay=0.5).step()
    assert torch.equal(p, torch.ones(3))


def test_groups_keep_their_own_numbers():
    fast, slow = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    for p in (fast, slow):
        p.grad = torch.ones(1)
    SGD([{"params": [fast], "lr": 1.0}, {"params": [slow]}], lr=0.1).step()
    assert (fast.item(), slow.item()) == pytest.approx((-1.0, -0.1))


@pytest.mark.parametrize("numbers", [{"lr": -1.0}, {"lr": 1.0, "weight_decay": -0.5}])
def test_negative_numbers_are_an_error_that_says_them(numbers):
    with pytest.raises(ValueError, match=str(next(n for n in numbers.values() if n < 0))):
        SGD([nn.Parameter(torch.ones(1))], **numbers)


def with_gradients(seed, scale):
    """Return parameters with random gradients, one of them without."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((3,), (2, 4), (), (5,))]
    for p in parameters[:-1]:
        p.grad = scale * torch.randn(p.shape, generator=generator)
    return parameters


@given(seed=st.integers(0, 100), scale=st.floats(1e-3, 1e3), max_norm=st.floats(0.01, 100))
def test_clipping_equals_torchs(seed, scale, max_norm):
    ours, theirs = with_gradients(seed, scale), with_gradients(seed, scale)
    norm = clip_gradient(ours, max_norm)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(theirs, max_norm))
    for p, q in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(p.grad, q.grad)


@given(seed=st.integers(0, 100), scale=st.floats(1e-3, 1e3), max_norm=st.floats(0.01, 100))
def test_no_clipped_gradient_is_longer_than_the_limit(seed, scale, max_norm):
    parameters = with_gradients(seed, scale)
    clip_gradient(parameters, max_norm)
    after = torch.cat([p.grad.flatten() for p in parameters[:-1]]).norm()
    assert after <= max_norm * (1 + 1e-6)


def test_a_gradient_below_the_limit_is_not_touched():
    parameters = with_gradients(0, 1.0)
    before = [p.grad.clone() for p in parameters[:-1]]
    clip_gradient(parameters, 1e3)
    assert all(torch.equal(p.grad, g) for p, g in zip(parameters[:-1], before, strict=True))


def test_without_any_gradient_the_norm_is_zero_as_in_torch():
    parameters = [nn.Parameter(torch.ones(2))]
    assert clip_gradient(parameters, 1.0) == nn.utils.clip_grad_norm_(parameters, 1.0) == 0


def test_parameters_may_come_from_a_generator():
    parameters = with_gradients(0, 1.0)
    assert clip_gradient((p for p in parameters), 1.0) == clip_gradient(with_gradients(0, 1.0), 1.0)

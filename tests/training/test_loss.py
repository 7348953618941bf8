"""The head's loss against torch's, in value and in both gradients; StableMax to its formula."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lmcore.training.loss import cross_entropy, linear_cross_entropy, stablemax_logits


@pytest.mark.parametrize("rows", [1, 4, 5, 12, 100])
def test_the_head_loss_equals_torchs_in_value_and_both_gradients(rows):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 6, generator=generator, requires_grad=True) for n in (12, 9))
    targets = torch.randint(9, (12,), generator=generator)
    ours = linear_cross_entropy(x, weight, targets, rows)
    theirs = F.cross_entropy(F.linear(x, weight), targets)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    for a, b in zip(
        torch.autograd.grad(3 * ours, (x, weight)),
        torch.autograd.grad(3 * theirs, (x, weight)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_the_head_loss_is_stable_for_enormous_logits():
    x, weight = torch.tensor([[1e4], [-1e4]]), torch.tensor([[1.0], [-1.0], [0.0]])
    loss = linear_cross_entropy(x, weight, torch.tensor([0, 0]))
    assert loss.item() == pytest.approx(1e4)


def test_in_float64_there_is_a_slope_where_float32_rounds_the_answer_to_certain():
    x = torch.tensor([[20.0]], requires_grad=True)
    for kind, is_flat in (("softmax", True), ("softmax-float64", False)):
        loss = linear_cross_entropy(x, torch.tensor([[1.0], [0.0]]), torch.tensor([0]), kind=kind)
        slope = torch.autograd.grad(loss, x)[0].item()
        assert slope == (0 if is_flat else pytest.approx(-1 / (1 + np.exp(20)), rel=1e-6))


# StableMax


def s(x):
    """Return what StableMax has in the place of exp(x), by the formula of its paper."""
    return np.where(x >= 0, x + 1, 1 / (1 - np.minimum(x, 0)))


@given(x=st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=9))
def test_the_softmax_of_stablemaxs_logits_is_its_formula(x):
    x = np.array(x)
    ours = stablemax_logits(torch.from_numpy(x)).softmax(-1)
    np.testing.assert_allclose(ours, s(x) / s(x).sum(), rtol=1e-12)


@given(x=st.floats(-1e4, 1e4), more=st.floats(1e-3, 1e3))
def test_a_greater_logit_stays_greater(x, more):
    low, high = stablemax_logits(torch.tensor([x, x + more], dtype=torch.float64))
    assert low < high


@pytest.mark.parametrize("rows", [5, 12])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_stablemax_loss_and_both_gradients_equal_its_formula_in_float64(rows, scale):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 6, generator=generator) for n in (12, 9))
    x, targets = scale * x, torch.randint(9, (12,), generator=generator).numpy()
    x.requires_grad_(), weight.requires_grad_()
    ours = linear_cross_entropy(x, weight, torch.from_numpy(targets), rows, kind="stablemax")
    d_x, d_weight = torch.autograd.grad(ours, (x, weight))

    a, w = (each.detach().double().numpy() for each in (x, weight))
    logits, hit = a @ w.T, np.eye(9)[targets]
    part = s(logits) / s(logits).sum(-1, keepdims=True)
    slope = np.where(logits >= 0, 1, s(logits) ** 2)  # ds/dx
    d_logits = (part - hit) * slope / s(logits) / 12
    np.testing.assert_allclose(ours.item(), -np.log(part[hit == 1]).mean(), rtol=1e-6)
    np.testing.assert_allclose(d_x, d_logits @ w, rtol=0, atol=1e-6)
    np.testing.assert_allclose(d_weight, d_logits.T @ a, rtol=0, atol=1e-6 * scale)


def test_where_softmax_underflows_the_stablemax_loss_still_has_a_slope():
    x = torch.tensor([[200.0]], requires_grad=True)
    for kind, is_flat in (("softmax", True), ("stablemax", False)):
        loss = linear_cross_entropy(x, torch.tensor([[1.0], [-1.0]]), torch.tensor([0]), kind=kind)
        assert (torch.autograd.grad(loss, x)[0].item() == 0) == is_flat


# Ignored targets


@pytest.mark.parametrize("kind", ["softmax", "softmax-float64", "stablemax"])
@pytest.mark.parametrize("ignored", [[], [0], [1, 4, 5, 11], range(11), range(4)], ids=str)
def test_targets_of_minus_100_count_neither_in_the_loss_nor_in_its_gradients(kind, ignored):
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, 6, generator=generator, requires_grad=True) for n in (12, 9))
    targets = torch.randint(9, (12,), generator=generator)
    targets[list(ignored)] = -100
    logits = F.linear(x, weight)
    logits = stablemax_logits(logits) if kind == "stablemax" else logits
    losses = (
        F.cross_entropy(logits, targets),
        cross_entropy(F.linear(x, weight), targets, kind),
        linear_cross_entropy(x, weight, targets, rows=4, kind=kind),
    )
    theirs = torch.autograd.grad(3 * losses[0], (x, weight), retain_graph=True)
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0], rtol=0, atol=1e-6)
        ours = torch.autograd.grad(3 * loss, (x, weight), retain_graph=True)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_without_any_target_the_loss_and_its_gradients_are_zero():
    x, weight = torch.randn(3, 2, requires_grad=True), torch.randn(5, 2, requires_grad=True)
    loss = linear_cross_entropy(x, weight, torch.full((3,), -100))
    assert loss == 0
    assert not any(g.any() for g in torch.autograd.grad(loss, (x, weight)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="Triton's kernel is for a GPU")
def test_the_kernel_for_gpus_ignores_targets_of_minus_100():
    x, weight = (torch.randn(n, 6, device="cuda", requires_grad=True) for n in (12, 331))
    targets = torch.randint(331, (12,), device="cuda")
    targets[[1, 4, 5]] = -100
    ours = linear_cross_entropy(x, weight, targets, rows=4)
    theirs = F.cross_entropy(F.linear(x, weight), targets)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    gradients = (torch.autograd.grad(loss, (x, weight)) for loss in (ours, theirs))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)

"""The head's loss against torch's, in value and in both gradients."""

import pytest
import torch
import torch.nn.functional as F

from lmcore.loss import linear_cross_entropy


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

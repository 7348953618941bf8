"""The MLP and its activations against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from lmcore.model.mlp import MLP, activate, gelu_by_sigmoid, swiglu_hidden_size


@pytest.mark.parametrize(
    ("activation", "theirs"),
    [
        ("gelu", F.gelu),
        ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
        ("silu", F.silu),
        ("relu", F.relu),
        ("relu2", lambda x: F.relu(x) ** 2),
        ("swiglu", lambda x: F.silu(x[..., :4]) * x[..., 4:]),
    ],
)
def test_an_activation_equals_torchs_function_of_that_name(activation, theirs):
    x = torch.linspace(-1e4, 1e4, 16).view(2, 8)
    torch.testing.assert_close(activate(x, activation), theirs(x))


def test_gelu_by_sigmoid_is_gelu_with_the_same_gradient():
    x = torch.linspace(-20, 20, 4001, requires_grad=True)
    actual, expected = gelu_by_sigmoid(x), F.gelu(x.double(), approximate="tanh")
    torch.testing.assert_close(actual, expected.float(), rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(y.sum(), x)[0] for y in (actual, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=2e-6)  # 1 - sigmoid loses digits far out


def test_swiglu_with_given_weights_is_w2_of_silu_w1_times_w3():
    mlp = MLP(16, 32, "swiglu", bias=False)
    w1, w3 = mlp.up.weight.chunk(2)
    x = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    expected = (F.silu(x @ w1.T) * (x @ w3.T)) @ mlp.down.weight.T
    torch.testing.assert_close(mlp(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("d_model", "d_ff"), [(512, 1344), (1600, 4288), (8, 64)])
def test_the_swiglu_hidden_size_is_eight_thirds_in_multiples_of_64(d_model, d_ff):
    assert swiglu_hidden_size(d_model) == d_ff

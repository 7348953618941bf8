"""The model against NumPy in float64, torch's own functions, and the laws of a causal decoder."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from made import TINY

from lmcore.model import GPT, ModelConfig, attend, drop, linear_cross_entropy

SIZES = ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff")


def randomised(config, seed=0):
    """Return a model in evaluation mode whose every number, biases and norms too, is random."""
    torch.manual_seed(seed)
    model = GPT(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3)
    return model


def some_ids(rows, length, config=TINY, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (rows, length), generator=generator)


def count(config):
    """Return the number of parameters of a model made without memory for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in GPT(config).parameters())


def test_the_baseline_has_the_published_number_of_parameters():
    assert count(ModelConfig(vocab_size=16_000)) == 27_172_864


@given(
    st.builds(
        dict,
        vocab_size=st.integers(1, 300),
        context_length=st.integers(1, 64),
        d_model=st.integers(1, 8).map(lambda n: 4 * n),
        n_heads=st.sampled_from([1, 2, 4]),
        n_layers=st.integers(1, 3),
        d_ff=st.integers(1, 64),
    )
)
def test_the_number_of_parameters_follows_from_the_config(sizes):
    config = ModelConfig(**sizes)
    assert config.n_parameters == count(config)


def test_the_cost_of_a_token_is_that_of_the_products_counted_one_by_one():
    d, ff, v, t = TINY.d_model, TINY.d_ff, TINY.vocab_size, TINY.context_length
    block = d * 3 * d + d * d + 2 * d * ff + 2 * t * d  # qkv, out, mlp, scores and values
    assert TINY.flops_per_token == 3 * 2 * (TINY.n_layers * block + d * v)


@given(t=st.integers(0, 7))
def test_the_future_has_no_gradient_in_the_past(t):
    model = randomised(TINY)
    inputs = []
    model.token_embedding.register_forward_hook(lambda _m, _i, out: inputs.append(out))
    logits = model(some_ids(2, 8))
    (gradient,) = torch.autograd.grad(logits[:, t].square().sum(), inputs)
    assert not gradient[:, t + 1 :].any()
    assert gradient[:, t].abs().min() > 0


@given(t=st.integers(0, 6))
def test_other_tokens_to_come_leave_the_logits_so_far_as_they_are(t):
    model, ids = randomised(TINY), some_ids(2, 8)
    other = torch.cat([ids[:, : t + 1], some_ids(2, 7 - t, seed=1)], dim=1)
    torch.testing.assert_close(model(ids)[:, : t + 1], model(other)[:, : t + 1], rtol=0, atol=1e-5)


def test_a_row_of_a_batch_knows_nothing_of_the_others():
    model, ids = randomised(TINY), some_ids(3, 8)
    torch.testing.assert_close(model(ids)[1:2], model(ids[1:2]), rtol=0, atol=1e-5)


def test_an_untrained_model_is_nearly_uniform():
    torch.manual_seed(0)
    config = ModelConfig(vocab_size=500, context_length=16, d_model=64, n_layers=2, n_heads=2)
    ids = some_ids(8, 16, config)
    loss = F.cross_entropy(GPT(config).eval()(ids).flatten(0, 1), ids.roll(-1, 1).flatten())
    assert loss.item() == pytest.approx(math.log(500), abs=0.1)


def test_the_head_is_the_token_embedding():
    model = randomised(TINY)
    names = [name for name, p in model.named_parameters() if p.shape[0] == TINY.vocab_size]
    assert names == ["token_embedding.weight"]
    ids = some_ids(1, 8)
    logits = model.hidden(ids) @ model.token_embedding.weight.T
    torch.testing.assert_close(model(ids), logits)


def test_weights_start_as_the_baseline_says():
    torch.manual_seed(0)
    model = GPT(ModelConfig(vocab_size=1_000, d_model=128, n_layers=1))
    for name, p in model.named_parameters():
        if "norm" in name:
            assert (p == (1.0 if name.endswith("weight") else 0.0)).all(), name
        elif name.endswith("bias") or name.startswith("position"):
            assert (p == 0).all(), name
        else:
            assert p.std().item() == pytest.approx(0.02, rel=0.02), name


def numpy_logits(model, ids):
    """Return the logits of a row of ids in float64, written out once more."""
    w = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    config = model.config

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return unit * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    erf = np.vectorize(math.erf)
    n, d = len(ids), config.d_head
    x = w["token_embedding.weight"][ids] + w["position_embedding.weight"][:n]
    for i in range(config.n_layers):
        qkv = linear(norm(x, f"blocks.{i}.attention_norm"), f"blocks.{i}.attention.qkv")
        q, k, v = np.split(qkv, 3, axis=-1)
        heads = []
        for h in range(config.n_heads):
            rows = slice(h * d, (h + 1) * d)
            scores = q[:, rows] @ k[:, rows].T / math.sqrt(d)
            scores[np.triu_indices(n, 1)] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            heads.append(weights / weights.sum(-1, keepdims=True) @ v[:, rows])
        x = x + linear(np.concatenate(heads, -1), f"blocks.{i}.attention.out")
        up = linear(norm(x, f"blocks.{i}.mlp_norm"), f"blocks.{i}.mlp.up")
        x = x + linear(up * (1 + erf(up / math.sqrt(2))) / 2, f"blocks.{i}.mlp.down")
    return norm(x, "norm") @ w["token_embedding.weight"].T


@pytest.mark.parametrize("length", [1, 5, 8])
def test_the_forward_pass_equals_numpy_in_float64(length):
    model, ids = randomised(TINY), some_ids(1, length)
    expected = torch.from_numpy(numpy_logits(model, ids[0].numpy())).float()
    torch.testing.assert_close(model(ids)[0].detach(), expected, rtol=1e-5, atol=1e-5)


@given(q_len=st.integers(1, 9), earlier=st.integers(0, 9), heads=st.integers(1, 3))
def test_attention_equals_torchs_where_the_last_query_sees_every_key(q_len, earlier, heads):
    generator = torch.Generator().manual_seed(q_len)
    k_len = q_len + earlier
    q, k, v = (torch.randn(2, heads, n, 4, generator=generator) for n in (q_len, k_len, k_len))
    seen = torch.ones(q_len, k_len, dtype=torch.bool).tril(earlier)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    torch.testing.assert_close(attend(q, k, v), expected, rtol=0, atol=1e-6)


def test_attention_over_equal_lengths_equals_torchs_causal_one():
    q, k, v = torch.randn(3, 2, 2, 16, 8, generator=torch.Generator().manual_seed(0))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(attend(q, k, v), expected, rtol=0, atol=1e-6)


def test_attention_stays_finite_for_enormous_scores():
    q = torch.full((1, 4, 2), 1e4)
    assert attend(q, q, q).isfinite().all()


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


def test_evaluation_drops_nothing():
    model = randomised(ModelConfig(**{name: getattr(TINY, name) for name in SIZES}, dropout=0.5))
    ids = some_ids(1, 8)
    assert torch.equal(model(ids), model(ids))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"d_model": 130, "n_heads": 4}, "d_model 130 does not split into 4 heads"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), not 1\.0"),
        ({"dropout": -0.1}, r"not -0\.1"),
        *(({name: 0}, f"{name} must be at least 1, not 0") for name in SIZES),
    ],
)
def test_a_config_that_cannot_be_is_an_error_with_its_values(wrong, says):
    with pytest.raises(ValueError, match=says):
        ModelConfig(**{"vocab_size": 10} | wrong)


def test_a_sequence_beyond_the_context_is_an_error_with_both_lengths():
    with pytest.raises(ValueError, match="9 tokens do not fit the model's context of 8"):
        GPT(TINY)(some_ids(1, 9))

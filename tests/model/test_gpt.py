"""The model against NumPy in float64, and the laws of a causal decoder."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from made import KINDS, LLAMA, TINY, random_ids, randomised

from lmcore.model.gpt import GPT

each_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)


@each_kind
@pytest.mark.parametrize("t", [0, 3, 7])
def test_the_future_has_no_gradient_in_the_past(config, t):
    model = randomised(config)
    inputs = []
    model.token_embedding.register_forward_hook(lambda _m, _i, out: inputs.append(out))
    logits = model(random_ids(2, 8))
    (gradient,) = torch.autograd.grad(logits[:, t].square().sum(), inputs)
    assert not gradient[:, t + 1 :].any()
    assert gradient[:, t].abs().min() > 0


@given(t=st.integers(0, 6))
def test_changing_later_tokens_does_not_change_earlier_logits(t):
    model, ids = randomised(TINY), random_ids(2, 8)
    other = torch.cat([ids[:, : t + 1], random_ids(2, 7 - t, seed=1)], dim=1)
    torch.testing.assert_close(model(ids)[:, : t + 1], model(other)[:, : t + 1], rtol=0, atol=1e-5)


def test_rows_of_a_batch_do_not_affect_each_other():
    model, ids = randomised(TINY), random_ids(3, 8)
    torch.testing.assert_close(model(ids)[1:2], model(ids[1:2]), rtol=0, atol=1e-5)


def test_without_positions_the_order_of_the_past_makes_no_difference_in_one_layer():
    model = randomised(replace(TINY, positions="none", n_layers=1))
    ids = random_ids(1, 8)
    shuffled = torch.cat([ids[:, [3, 1, 6, 0, 2, 5, 4]], ids[:, 7:]], dim=1)
    torch.testing.assert_close(model(ids)[:, -1], model(shuffled)[:, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("positions", ["learned", "rope", "sinusoidal"])
def test_with_positions_the_order_of_the_past_makes_a_difference(positions):
    model = randomised(replace(TINY, positions=positions, n_layers=1))
    ids = torch.arange(8)[None]
    shuffled = torch.cat([ids[:, [3, 1, 6, 0, 2, 5, 4]], ids[:, 7:]], dim=1)
    assert (model(ids)[:, -1] - model(shuffled)[:, -1]).abs().max() > 1e-3


def test_another_rope_base_gives_other_logits():
    weights = randomised(LLAMA).state_dict()
    other = GPT(replace(LLAMA, rope_base=100.0)).eval()
    other.load_state_dict(weights)
    ids = random_ids(1, 8)
    assert (randomised(LLAMA)(ids) - other(ids)).abs().max() > 1e-3


def test_a_model_with_rope_stores_no_table():
    assert [name for name in GPT(LLAMA).state_dict() if "rot" in name or "position" in name] == []


def test_a_tied_head_is_the_token_embedding():
    model = randomised(TINY)
    names = [name for name, p in model.named_parameters() if p.shape[0] == TINY.vocab_size]
    assert names == ["token_embedding.weight"]
    ids = random_ids(1, 8)
    logits = model.hidden(ids) @ model.token_embedding.weight.T
    torch.testing.assert_close(model(ids), logits)


def test_an_untied_head_has_its_own_matrix():
    model = randomised(LLAMA)
    torch.testing.assert_close(
        model(random_ids(1, 8)), model.hidden(random_ids(1, 8)) @ model.head.weight.T
    )


def numpy_table(positions, d, stretch=None, base=10_000.0):
    """Return (cos, sin) of position · base^(-2k/d), slowed the way Llama 3.1 defines by waves."""
    frequencies = base ** (-np.arange(0, d, 2) / d)
    if stretch:
        fits = stretch.original_context_length / (
            2 * np.pi / frequencies
        )  # waves in the old context
        share = (fits - stretch.low_freq_factor) / (
            stretch.high_freq_factor - stretch.low_freq_factor
        )
        between = (1 - share) * frequencies / stretch.factor + share * frequencies
        slowed = np.where(fits < stretch.low_freq_factor, frequencies / stretch.factor, between)
        frequencies = np.where(fits > stretch.high_freq_factor, frequencies, slowed)
    angles = positions[:, None] * frequencies
    return np.cos(angles), np.sin(angles)


def numpy_turned(x, cos, sin):
    out = np.empty_like(x)
    out[:, ::2] = x[:, ::2] * cos - x[:, 1::2] * sin
    out[:, 1::2] = x[:, ::2] * sin + x[:, 1::2] * cos
    return out


def numpy_activation(x, kind):
    sigmoid = 1 / (1 + np.exp(-x))
    if kind == "gelu":
        return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    if kind == "gelu_tanh":
        return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    if kind == "relu":
        return np.maximum(x, 0)
    if kind == "relu2":
        return np.maximum(x, 0) ** 2
    if kind == "silu":
        return x * sigmoid
    half = x.shape[-1] // 2
    return (x * sigmoid)[:, :half] * x[:, half:]


def numpy_logits(model, ids):
    """Return the logits of a row of ids in float64, every option written out once more."""
    w = {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    c, n = model.config, len(ids)
    d = c.d_head

    def rms(x, weight):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + c.norm_eps) * weight

    def norm(x, name):
        if c.norm == "none":
            return x
        if c.norm == "rms":
            return rms(x, w[f"{name}.weight"])
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + c.norm_eps)
        return unit * w[f"{name}.weight"] + w.get(f"{name}.bias", 0)

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    def attention(x, name):
        qkv = linear(x, f"{name}.qkv")
        q, k, v = np.split(qkv, [c.n_heads * d, (c.n_heads + c.n_kv) * d], axis=-1)
        heads = []
        for h in range(c.n_heads):
            shared = h * c.n_kv // c.n_heads
            q_h, k_h = q[:, h * d : (h + 1) * d], k[:, shared * d : (shared + 1) * d]
            if c.qk_norm:
                q_h = rms(q_h, w[f"{name}.q_norm.weight"])
                k_h = rms(k_h, w[f"{name}.k_norm.weight"])
            if c.positions == "rope":
                table = numpy_table(np.arange(n), d, c.rope_scaling, c.rope_base)
                q_h, k_h = numpy_turned(q_h, *table), numpy_turned(k_h, *table)
            scores = q_h @ k_h.T / math.sqrt(d)
            scores[np.triu_indices(n, 1)] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
            heads.append(weights @ v[:, shared * d : (shared + 1) * d])
        return linear(np.concatenate(heads, -1), f"{name}.out") * w.get(f"{name}_scale.weight", 1)

    def mlp(x, name):
        hidden = numpy_activation(linear(x, f"{name}.up"), c.activation)
        return linear(hidden, f"{name}.down") * w.get(f"{name}_scale.weight", 1)

    x = c.embedding_scale * w["token_embedding.weight"][ids]
    if c.positions == "learned":
        x = x + w["position_embedding.weight"][:n]
    if c.positions == "sinusoidal":
        cos, sin = numpy_table(np.arange(n), c.d_model)
        x = x + np.stack([sin, cos], -1).reshape(n, -1)
    for i in range(c.n_layers):
        block = f"blocks.{i}"
        if c.norm_at == "post":
            x = norm(x + attention(x, f"{block}.attention"), f"{block}.attention_norm")
            x = norm(x + mlp(x, f"{block}.mlp"), f"{block}.mlp_norm")
        elif c.parallel_residual:
            normed = norm(x, f"{block}.attention_norm")
            x = x + attention(normed, f"{block}.attention") + mlp(normed, f"{block}.mlp")
        else:
            x = x + attention(norm(x, f"{block}.attention_norm"), f"{block}.attention")
            x = x + mlp(norm(x, f"{block}.mlp_norm"), f"{block}.mlp")
    if c.norm_at == "pre":
        x = norm(x, "norm")
    head = w["token_embedding.weight" if c.tie_embeddings else "head.weight"]
    if c.head_scale is None:
        return x @ head.T
    x, head = (rows / np.linalg.norm(rows, axis=-1, keepdims=True) for rows in (x, head))
    return c.head_scale * x @ head.T


@each_kind
@pytest.mark.parametrize("length", [1, 8])
def test_the_forward_pass_equals_numpy_in_float64(config, length):
    model, ids = randomised(config), random_ids(1, length)
    expected = torch.from_numpy(numpy_logits(model, ids[0].numpy())).float()
    torch.testing.assert_close(model(ids)[0].detach(), expected, rtol=1e-5, atol=1e-5)


@each_kind
def test_fused_attention_gives_the_same_logits_as_plain_code(config):
    model, ids = randomised(config), random_ids(2, 8)
    with torch.no_grad():
        fused = model(ids)
    torch.testing.assert_close(fused, model(ids).detach(), rtol=1e-5, atol=1e-5)


@each_kind
def test_a_document_in_a_packed_row_is_read_as_if_it_were_alone(config):
    model, ids = randomised(config), random_ids(2, 8)
    packed = model(
        ids, documents=torch.tensor([[4, 4, 4, 9, 9, 9, 9, 9], [0, 1, 2, 2, 2, 2, 3, 3]])
    )
    torch.testing.assert_close(packed[:1, 3:], model(ids[:1, 3:]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed[1:, 2:6], model(ids[1:, 2:6]), rtol=1e-5, atol=1e-5)


def test_no_gradient_crosses_from_one_document_to_another():
    model = randomised(LLAMA)
    inputs = []
    model.token_embedding.register_forward_hook(lambda _m, _i, out: inputs.append(out))
    logits = model(random_ids(1, 8), documents=torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2]]))
    (gradient,) = torch.autograd.grad(logits[:, 5].square().sum(), inputs)
    assert (
        gradient.abs().amax(-1).squeeze().gt(0).tolist() == [False] * 3 + [True] * 3 + [False] * 2
    )


def test_a_single_document_is_plain_attention():
    model, ids = randomised(TINY), random_ids(2, 8)
    one = model(ids, documents=torch.zeros(2, 8, dtype=torch.long))
    torch.testing.assert_close(one, model(ids), rtol=0, atol=1e-5)


def test_a_cosine_head_gives_cosines_times_its_scale():
    config = replace(TINY, head_scale=7.0, norm="none")
    model, plain = randomised(config), GPT(replace(config, head_scale=None)).eval()
    plain.load_state_dict(model.state_dict())
    features = plain.hidden(random_ids(2, 8))
    cosines = F.cosine_similarity(features[:, :, None], plain.head_weight, dim=-1)
    torch.testing.assert_close(model(random_ids(2, 8)), 7 * cosines, rtol=0, atol=1e-5)


def test_evaluation_drops_nothing():
    model = randomised(replace(TINY, dropout=0.5))
    ids = random_ids(1, 8)
    assert torch.equal(model(ids), model(ids))


def test_training_drops_something():
    model = randomised(replace(TINY, dropout=0.5)).train()
    ids = random_ids(1, 8)
    assert not torch.equal(model(ids), model(ids))


def test_a_sequence_beyond_the_context_is_an_error_with_both_lengths():
    with pytest.raises(ValueError, match="9 tokens do not fit the model's context of 8"):
        GPT(TINY)(random_ids(1, 9))


@pytest.mark.parametrize("wrong", [-1, 31])
def test_an_id_out_of_range_is_an_error_with_the_id_and_the_vocabulary(wrong):
    with pytest.raises(ValueError, match=f"id {wrong} is outside the vocabulary of 31"):
        GPT(TINY)(torch.tensor([[1, wrong]]))


def test_ids_that_are_not_integers_are_an_error_with_their_type():
    with pytest.raises(ValueError, match=r"must be integers, not torch\.float32"):
        GPT(TINY).require_known(torch.tensor([1.5]))

"""The model against NumPy in float64, torch's own functions, and the laws of a causal decoder."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from made import KINDS, LLAMA, TINY, randomised

from lmcore.model.attention import Attention
from lmcore.model.config import ModelConfig
from lmcore.model.dot_product import attend
from lmcore.model.gpt import GPT
from lmcore.model.kv_cache import KVCache
from lmcore.model.masks import causal_mask, document_starts
from lmcore.model.mlp import MLP, activate, gelu_by_sigmoid, swiglu_hidden_size
from lmcore.model.norm import rms_norm

SIZES = ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff")
each_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)


def some_ids(rows, length, config=TINY, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (rows, length), generator=generator)


# Laws


@each_kind
@pytest.mark.parametrize("t", [0, 3, 7])
def test_the_future_has_no_gradient_in_the_past(config, t):
    model = randomised(config)
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


def test_without_positions_the_order_of_the_past_makes_no_difference_in_one_layer():
    model = randomised(replace(TINY, positions="none", n_layers=1))
    ids = some_ids(1, 8)
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
    ids = some_ids(1, 8)
    assert (randomised(LLAMA)(ids) - other(ids)).abs().max() > 1e-3


def test_a_model_with_rope_stores_no_table():
    assert [name for name in GPT(LLAMA).state_dict() if "rot" in name or "position" in name] == []


def test_a_tied_head_is_the_token_embedding():
    model = randomised(TINY)
    names = [name for name, p in model.named_parameters() if p.shape[0] == TINY.vocab_size]
    assert names == ["token_embedding.weight"]
    ids = some_ids(1, 8)
    logits = model.hidden(ids) @ model.token_embedding.weight.T
    torch.testing.assert_close(model(ids), logits)


def test_an_untied_head_is_a_matrix_of_its_own():
    model = randomised(LLAMA)
    torch.testing.assert_close(
        model(some_ids(1, 8)), model.hidden(some_ids(1, 8)) @ model.head.weight.T
    )


# The whole against NumPy


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
    model, ids = randomised(config), some_ids(1, length)
    expected = torch.from_numpy(numpy_logits(model, ids[0].numpy())).float()
    torch.testing.assert_close(model(ids)[0].detach(), expected, rtol=1e-5, atol=1e-5)


@each_kind
def test_the_fused_attention_of_evaluation_gives_the_written_out_ones_logits(config):
    model, ids = randomised(config), some_ids(2, 8)
    with torch.no_grad():
        fused = model(ids)
    torch.testing.assert_close(fused, model(ids).detach(), rtol=1e-5, atol=1e-5)


# Attention within documents


@each_kind
def test_a_document_in_a_packed_row_is_read_as_if_it_stood_alone(config):
    model, ids = randomised(config), some_ids(2, 8)
    packed = model(
        ids, documents=torch.tensor([[4, 4, 4, 9, 9, 9, 9, 9], [0, 1, 2, 2, 2, 2, 3, 3]])
    )
    torch.testing.assert_close(packed[:1, 3:], model(ids[:1, 3:]), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed[1:, 2:6], model(ids[1:, 2:6]), rtol=1e-5, atol=1e-5)


def test_a_document_has_no_gradient_from_the_one_after_it_nor_to_the_one_before():
    model = randomised(LLAMA)
    inputs = []
    model.token_embedding.register_forward_hook(lambda _m, _i, out: inputs.append(out))
    logits = model(some_ids(1, 8), documents=torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2]]))
    (gradient,) = torch.autograd.grad(logits[:, 5].square().sum(), inputs)
    assert (
        gradient.abs().amax(-1).squeeze().gt(0).tolist() == [False] * 3 + [True] * 3 + [False] * 2
    )


def test_one_document_is_plain_attention():
    model, ids = randomised(TINY), some_ids(2, 8)
    one = model(ids, documents=torch.zeros(2, 8, dtype=torch.long))
    torch.testing.assert_close(one, model(ids), rtol=0, atol=1e-5)


def test_a_run_of_equal_numbers_starts_where_the_number_changes():
    found = document_starts(torch.tensor([[7, 7, 3, 3, 3, 7], [1, 2, 3, 4, 5, 6]]))
    assert found.tolist() == [[0, 0, 2, 2, 2, 5], [0, 1, 2, 3, 4, 5]]


# The cache


def cached(model, ids, cuts):
    """Return the logits of ids read in pieces that end at cuts."""
    cache = KVCache(model.config, batch=len(ids), capacity=ids.shape[1])
    with torch.no_grad():
        pieces = [
            model(ids[:, start:stop], cache=cache)
            for start, stop in zip([0, *cuts], [*cuts, ids.shape[1]], strict=True)
        ]
    return torch.cat(pieces, dim=1)


@each_kind
@pytest.mark.parametrize("cuts", [[1, 2, 3, 4, 5, 6, 7], [4], [3, 5, 6]], ids=str)
def test_a_cache_changes_nothing(config, cuts):
    model, ids = randomised(config), some_ids(2, 8)
    with torch.no_grad():
        expected = model(ids)
    torch.testing.assert_close(cached(model, ids, cuts), expected, rtol=0, atol=1e-5)


@each_kind
def test_rows_of_different_lengths_share_a_cache(config):
    model, ids = randomised(config), some_ids(2, 8)
    cache = KVCache(config, batch=2, capacity=8)
    with torch.no_grad():
        model(ids[:, :5], cache=cache)
        cache.lengths = [5, 2]  # what the second row read beyond its second token was padding
        next_ids = torch.stack([ids[0, 5:7], ids[1, 2:4]])
        found = torch.cat([model(next_ids[:, i : i + 1], cache=cache) for i in (0, 1)], dim=1)
        expected = [model(ids[:1, :7])[:, 5:], model(ids[1:, :4])[:, 2:]]
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-5)


def test_a_cache_too_small_is_an_error_with_both_sizes():
    cache = KVCache(TINY, batch=1, capacity=4)
    with pytest.raises(ValueError, match="5 tokens do not fit a cache made for 4"):
        GPT(TINY)(some_ids(1, 5), cache=cache)


@each_kind
@pytest.mark.parametrize("last", [1, 3, 8])
def test_the_last_positions_alone_come_out_as_with_all_the_others(config, last):
    model, ids = randomised(config), some_ids(2, 8)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2]] * 2)
    for read in ((ids,), (ids, documents)):
        alone = model(*read, last=last)
        torch.testing.assert_close(alone, model(*read)[:, -last:], rtol=0, atol=1e-5)


def test_the_last_position_alone_has_the_gradient_that_it_has_among_the_others():
    gradients = []
    for last in (None, 1):
        model = randomised(LLAMA)
        model(some_ids(4, 8), last=last)[:, -1].square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@each_kind
@pytest.mark.parametrize("last", [1, 3])
def test_a_batch_of_more_rows_than_tokens_is_read_by_token_and_is_the_same(config, last):
    model, ids = randomised(config), some_ids(config.vocab_size + 1, 8, config)
    alone, among = model(ids, last=last), model(ids)[:, -last:]
    torch.testing.assert_close(alone, among, rtol=0, atol=1e-5)
    gradients = [
        torch.autograd.grad(logits.square().mean(), list(model.parameters()))
        for logits in (alone, among)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@each_kind
def test_reading_by_token_computes_keys_once_for_each_token_and_position(config):
    model, ids, seen = randomised(config), some_ids(config.vocab_size + 1, 8, config), []
    model.blocks[0].attention.qkv.register_forward_pre_hook(lambda _m, x: seen.append(x[0].shape))
    model(ids, last=1)
    assert seen == [(8 * config.vocab_size, config.d_model)]


def test_a_cosine_head_gives_cosines_times_its_scale():
    config = replace(TINY, head_scale=7.0, norm="none")
    model, plain = randomised(config), GPT(replace(config, head_scale=None)).eval()
    plain.load_state_dict(model.state_dict())
    features = plain.hidden(some_ids(2, 8))
    cosines = F.cosine_similarity(features[:, :, None], plain.head_weight, dim=-1)
    torch.testing.assert_close(model(some_ids(2, 8)), 7 * cosines, rtol=0, atol=1e-5)


def test_the_initial_scale_multiplies_matrices_as_drawn():
    drawn = []
    for scale in (1.0, 3.0):
        torch.manual_seed(0)
        drawn.append(GPT(replace(TINY, initial_scale=scale)).state_dict())
    for name, value in drawn[0].items():
        factor = 3.0 if value.ndim > 1 else 1.0
        assert torch.equal(drawn[1][name], factor * value), name


# Parts


@given(q_len=st.integers(1, 9), earlier=st.integers(0, 9), heads=st.integers(1, 3))
def test_causal_attention_equals_torchs_where_the_last_query_sees_every_key(q_len, earlier, heads):
    generator = torch.Generator().manual_seed(q_len)
    k_len = q_len + earlier
    q, k, v = (torch.randn(2, heads, n, 4, generator=generator) for n in (q_len, k_len, k_len))
    seen = torch.ones(q_len, k_len, dtype=torch.bool).tril(earlier)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    torch.testing.assert_close(attend(q, k, v, causal=True), expected, rtol=0, atol=1e-6)


@given(st.lists(st.booleans(), min_size=20, max_size=20))
def test_attention_sees_where_the_mask_is_true(bits):
    mask = torch.tensor(bits).view(4, 5)
    mask[:, 0] = True
    q, k, v = (
        torch.randn(2, 3, n, 4, generator=torch.Generator().manual_seed(n)) for n in (4, 5, 5)
    )
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(attend(q, k, v, mask), expected, rtol=0, atol=1e-6)


def test_a_mask_broadcasts_over_leading_dimensions():
    q, k, v = torch.randn(3, 2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.eye(5, dtype=torch.bool).expand(2, 1, 5, 5)
    torch.testing.assert_close(attend(q, k, v, mask), v)  # each sees itself alone


def test_unmasked_attention_sees_everything():
    q, k, v = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    expected = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend(q, k, v), expected, rtol=0, atol=1e-6)


def test_attention_stays_finite_for_enormous_scores():
    q = torch.full((1, 4, 2), 1e4)
    assert attend(q, q, q, causal=True).isfinite().all()


def test_the_causal_mask_of_one_query_hides_nothing():
    assert causal_mask(1, 5, torch.device("cpu")).all()


@given(scale=st.floats(1e-3, 1e4))
def test_rms_norm_equals_torchs(scale):
    x = scale * torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(rms_norm(x, weight, 1e-5), F.rms_norm(x, (8,), weight, 1e-5))


def test_gelu_without_tanh_is_gelu_and_has_its_gradient():
    x = torch.linspace(-20, 20, 4001, requires_grad=True)
    found, expected = gelu_by_sigmoid(x), F.gelu(x.double(), approximate="tanh")
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-6)
    gradients = [torch.autograd.grad(y.sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=0, atol=2e-6)  # 1 - sigmoid loses digits far out


def test_rms_norm_of_bfloat16_is_computed_in_float32():
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = rms_norm(x.float(), torch.ones(8), 1e-5).bfloat16()
    assert torch.equal(rms_norm(x, torch.ones(8), 1e-5), expected)


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
def test_an_activation_is_the_one_it_is_named_after(activation, theirs):
    x = torch.linspace(-1e4, 1e4, 16).view(2, 8)
    torch.testing.assert_close(activate(x, activation), theirs(x))


def test_swiglu_with_given_weights_is_w2_of_silu_w1_times_w3():
    mlp = MLP(16, 32, "swiglu", bias=False)
    w1, w3 = mlp.up.weight.chunk(2)
    x = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(0))
    expected = (F.silu(x @ w1.T) * (x @ w3.T)) @ mlp.down.weight.T
    torch.testing.assert_close(mlp(x), expected, rtol=0, atol=1e-6)


def test_attention_alone_with_given_weights_equals_torchs_module():
    torch.manual_seed(0)
    ours, theirs = Attention(16, 2).eval(), torch.nn.MultiheadAttention(16, 2, batch_first=True)
    theirs.in_proj_weight, theirs.in_proj_bias = ours.qkv.weight, ours.qkv.bias
    theirs.out_proj.weight, theirs.out_proj.bias = ours.out.weight, ours.out.bias
    x = torch.randn(2, 5, 16)
    hidden = ~causal_mask(5, 5, x.device)
    expected, _ = theirs(x, x, x, attn_mask=hidden, need_weights=False)
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("d_model", "d_ff"), [(512, 1344), (1600, 4288), (8, 64)])
def test_a_gate_has_eight_thirds_of_the_width_in_multiples_of_64(d_model, d_ff):
    assert swiglu_hidden_size(d_model) == d_ff


def test_evaluation_drops_nothing():
    model = randomised(replace(TINY, dropout=0.5))
    ids = some_ids(1, 8)
    assert torch.equal(model(ids), model(ids))


def test_training_drops_something():
    model = randomised(replace(TINY, dropout=0.5)).train()
    ids = some_ids(1, 8)
    assert not torch.equal(model(ids), model(ids))


# How weights start


@pytest.mark.parametrize("initialisation", ["flat", "gpt2", "zero_residual"])
def test_an_untrained_model_is_nearly_uniform(initialisation):
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=500, context_length=16, d_model=64, n_layers=2, n_heads=2,
        initialisation=initialisation,
    )  # fmt: skip
    ids = some_ids(8, 16, config)
    loss = F.cross_entropy(GPT(config).eval()(ids).flatten(0, 1), ids.roll(-1, 1).flatten())
    assert loss.item() == pytest.approx(math.log(500), abs=0.1)


def standard_deviations(**options):
    """Return each weight's standard deviation in a new wide model."""
    torch.manual_seed(0)
    config = ModelConfig(**{"vocab_size": 1_000, "d_model": 128, "n_layers": 2} | options)
    return {name: p.std(correction=0).item() for name, p in GPT(config).named_parameters()}


def test_norms_start_at_one_and_biases_at_zero():
    for name, p in GPT(TINY).named_parameters():
        if "norm" in name or name.endswith("bias"):
            assert (p == (1.0 if name.endswith("weight") else 0.0)).all(), name


def test_flat_weights_start_alike_and_positions_at_zero():
    for name, std in standard_deviations().items():
        is_matrix = "norm" not in name and not name.endswith("bias")
        expected = 0.02 if is_matrix and "position" not in name else 0.0
        assert std == pytest.approx(expected, rel=0.02), name


def test_gpt2s_residual_projections_start_smaller_by_the_root_of_their_number():
    found = standard_deviations(initialisation="gpt2")
    for name in ("blocks.1.attention.out.weight", "blocks.0.mlp.down.weight"):
        assert found[name] == pytest.approx(0.02 / math.sqrt(4), rel=0.02), name
    assert found["position_embedding.weight"] == pytest.approx(0.02, rel=0.02)


def test_zero_residual_blocks_add_nothing_at_first():
    model = GPT(replace(TINY, initialisation="zero_residual", positions="none")).eval()
    x = model.token_embedding(some_ids(1, 8))
    assert torch.equal(model.hidden(some_ids(1, 8)), model.norm(x))


# A normal distribution cut at 3 standard deviations has 0.9866 of them left.
CUT = 0.9866


def test_truncated_weights_follow_the_sizes_of_each_map():
    found = standard_deviations(
        initialisation="truncated",
        tie_embeddings=False,
        activation="swiglu",
        n_kv_heads=2,
        d_ff=320,
    )
    assert found["token_embedding.weight"] == pytest.approx(CUT, rel=0.02)
    assert found["head.weight"] == pytest.approx(CUT * math.sqrt(2 / 1_128), rel=0.02)
    assert found["blocks.0.mlp.up.weight"] == pytest.approx(CUT * math.sqrt(2 / 448), rel=0.02)
    q, k = 128 * 128, 128 * 32
    mean_square = (q * 2 / 256 + 2 * k * 2 / 160) / (q + 2 * k)
    assert found["blocks.0.attention.qkv.weight"] == pytest.approx(CUT * mean_square**0.5, rel=0.02)


def test_truncated_weights_lie_within_three_standard_deviations():
    model = GPT(replace(LLAMA, initialisation="truncated"))
    assert model.token_embedding.weight.abs().max() <= 3
    assert model.head.weight.abs().max() <= 3 * math.sqrt(2 / 47)


# Bad input


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"d_model": 130, "n_heads": 4}, "d_model 130 does not split into 4 heads"),
        ({"n_kv_heads": 3}, "8 heads of 64 features cannot share 3 key/value heads"),
        ({"n_kv_heads": 0}, "cannot share 0 key/value heads"),
        ({"head_size": 0}, "8 heads of 0 features"),
        ({"positions": "rope", "head_size": 5}, "d_head 5 is odd"),
        ({"positions": "sinusoidal", "d_model": 9, "n_heads": 3}, "even d_model, not 9"),
        ({"rope_base": 0.0}, r"rope_base must be above 0, not 0\.0"),
        ({"parallel_residual": True, "norm_at": "post"}, "norm_at 'pre'"),
        ({"initialisation": "truncated"}, "set tie_embeddings=False"),
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


@pytest.mark.parametrize("wrong", [-1, 31])
def test_an_id_out_of_range_is_an_error_with_the_id_and_the_vocabulary(wrong):
    with pytest.raises(ValueError, match=f"id {wrong} is outside the vocabulary of 31"):
        GPT(TINY)(torch.tensor([[1, wrong]]))


def test_ids_that_are_no_whole_numbers_are_an_error_with_their_type():
    with pytest.raises(ValueError, match=r"must be integers, not torch\.float32"):
        GPT(TINY).require_known(torch.tensor([1.5]))

"""The fast path to the last positions equals the plain one, option by option."""

import pytest
import torch
from made import KINDS, LLAMA, random_ids, randomised

from lmcore.model.block import Block
from lmcore.model.dot_product import attend
from lmcore.model.kv_cache import KVCache
from lmcore.model.last_positions import FEW_KEYS, attend_to_few_keys

each_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)


@each_kind
@pytest.mark.parametrize("last", [1, 3, 8])
def test_the_last_positions_have_the_same_logits_as_among_all(config, last):
    model, ids = randomised(config), random_ids(2, 8)
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2]] * 2)
    for read in ((ids,), (ids, documents)):
        alone = model(*read, last=last)
        torch.testing.assert_close(alone, model(*read)[:, -last:], rtol=0, atol=1e-5)


def test_the_last_position_has_the_same_gradient_as_among_all():
    gradients = []
    for last in (None, 1):
        model = randomised(LLAMA)
        model(random_ids(4, 8), last=last)[:, -1].square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@each_kind
@pytest.mark.parametrize("last", [1, 3])
def test_more_rows_than_tokens_give_the_same_logits_and_gradients(config, last):
    model, ids = randomised(config), random_ids(config.vocab_size + 1, 8, config)
    alone, among = model(ids, last=last), model(ids)[:, -last:]
    torch.testing.assert_close(alone, among, rtol=0, atol=1e-5)
    gradients = [
        torch.autograd.grad(logits.square().mean(), list(model.parameters()))
        for logits in (alone, among)
    ]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@each_kind
def test_more_rows_than_tokens_are_projected_once_for_each_token_and_position(config):
    model, ids, seen = randomised(config), random_ids(config.vocab_size + 1, 8, config), []
    model.blocks[0].attention.qkv.register_forward_pre_hook(lambda _m, x: seen.append(x[0].shape))
    model(ids, last=1)
    assert seen == [(8 * config.vocab_size, config.d_model)]


@pytest.mark.parametrize("k_len", [1, 3, FEW_KEYS])
@pytest.mark.parametrize("is_masked", [False, True])
def test_attention_to_few_keys_equals_attention(k_len, is_masked):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 4, generator=generator) for n in (1, k_len, k_len))
    mask = (torch.arange(k_len) != 1)[None] if is_masked else None
    torch.testing.assert_close(attend_to_few_keys(q, k, v, mask, 0.0), attend(q, k, v, mask))


def test_with_a_cache_the_last_positions_are_those_among_all():
    model, ids = randomised(LLAMA), random_ids(2, 8)
    cache = KVCache(LLAMA, batch=2, capacity=8)
    with torch.no_grad():
        model(ids[:, :5], cache=cache)
        actual = model(ids[:, 5:], cache=cache, last=2)
        torch.testing.assert_close(actual, model(ids)[:, -2:], rtol=0, atol=1e-5)


class Doubled(torch.nn.Linear):
    """A linear map as an adapter might be."""

    def forward(self, x):
        return 2 * super().forward(x)


def hook_block(model):
    model.blocks[-1].register_forward_hook(lambda _m, _i, y: -y)


def hook_attention(model):
    model.blocks[0].attention.register_forward_hook(lambda _m, _i, y: 2 * y)


def hook_projection(model):
    model.blocks[-1].attention.qkv.register_forward_hook(lambda _m, _i, y: 2 * y)


def replace_projection(model):
    old = model.blocks[-1].attention.qkv
    new = Doubled(old.in_features, old.out_features, bias=old.bias is not None)
    new.load_state_dict(old.state_dict())
    model.blocks[-1].attention.qkv = new


def replace_forward(model):
    model.blocks[-1].mlp.forward = torch.zeros_like


def subclass_block(model):
    class Negated(Block):
        def forward(self, x, *given, **named):
            return -super().forward(x, *given, **named)

    model.blocks[0].__class__ = Negated


@pytest.mark.parametrize(
    "change",
    [hook_block, hook_attention, hook_projection, replace_projection, replace_forward,
     subclass_block],
)  # fmt: skip
@pytest.mark.parametrize("n_rows", [2, LLAMA.vocab_size + 1])
def test_hooks_and_replaced_modules_are_called(change, n_rows):
    model, ids = randomised(LLAMA), random_ids(n_rows, 8)
    before = model(ids, last=1)
    change(model)
    torch.testing.assert_close(model(ids, last=1), model(ids)[:, -1:], rtol=1e-5, atol=1e-5)
    assert (model(ids, last=1) - before).abs().max() > 1e-3

"""The fast path to the last positions equals the plain one, option by option."""

import pytest
import torch
from made import KINDS, LLAMA, random_ids, randomised

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

"""What a model looks at, beside what the same model does by itself."""

from dataclasses import replace

import pytest
import torch
from made import TINY, randomised

from lmcore.evaluation.attention_maps import attention_maps, with_context_length

SHAPES = {
    "rope": {"positions": "rope"},
    "learned": {},
    "grouped heads": {"positions": "rope", "n_kv_heads": 1},
    "QK-norm": {"qk_norm": True},
    "parallel": {"parallel_residual": True, "positions": "sinusoidal"},
}
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 5, 8, 9, 7]])
TITLES = torch.tensor([[0, 0, 1, 1, 1, 2, 2], [0, 1, 1, 1, 1, 1, 1]])


@pytest.fixture(params=SHAPES)
def model(request):
    return randomised(replace(TINY, **SHAPES[request.param]))


@pytest.mark.parametrize("documents", [None, TITLES])
def test_weights_are_those_that_make_what_each_block_adds(model, documents):
    """The values are taken together by the weights and put through the output by hand."""
    found = attention_maps(model, IDS, documents)
    positions = model.positions(IDS, documents)
    mask = model.mask(positions, documents)
    table = model.rope_table(positions)
    x = model.embed(IDS, positions)
    for block, weights in zip(model.blocks, found, strict=True):
        normed = block.attention_norm(x)
        *_, v = block.attention.project(normed, rope_table=table)
        v = v.repeat_interleave(weights.shape[1] // v.shape[1], 1)
        by_hand = block.attention.out((weights @ v).transpose(1, 2).flatten(2))
        expected = block.attention(normed, mask, rope_table=table)
        torch.testing.assert_close(by_hand, expected, rtol=1e-5, atol=1e-5)
        x = block(x, mask, rope_table=table)


def test_weights_of_a_query_sum_to_one_and_none_is_on_the_future(model):
    found = attention_maps(model, IDS)
    torch.testing.assert_close(found.sum(-1), torch.ones(found.shape[:-1]))
    assert (found.triu(1) == 0).all()


def test_within_documents_no_weight_is_on_another(model):
    other = TITLES[:, :, None] != TITLES[:, None, :]
    found = attention_maps(model, IDS, TITLES)
    assert (found.masked_select(other[None, :, None]) == 0).all()


def test_a_post_norm_model_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="norm_at 'post'"):
        attention_maps(randomised(replace(TINY, norm_at="post")), IDS)


@pytest.mark.parametrize("kind", ["rope", "sinusoidal", "none"])
def test_a_longer_model_says_the_same_of_what_both_can_read(kind):
    model = randomised(replace(TINY, positions=kind))
    longer = with_context_length(model, 4 * TINY.context_length)
    assert torch.equal(longer(IDS), model(IDS))
    assert longer(IDS.repeat(1, 3)).shape[1] == 3 * IDS.shape[1]


def test_lengthening_a_model_draws_no_random_number():
    model = randomised(replace(TINY, positions="rope"))
    before = torch.get_rng_state()
    with_context_length(model, 16)
    assert torch.equal(torch.get_rng_state(), before)


def test_learned_positions_cannot_be_lengthened_and_the_error_says_why():
    with pytest.raises(ValueError, match="learned positions end at 8: none were learned up to 16"):
        with_context_length(randomised(TINY), 16)

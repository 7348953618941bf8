"""One more token a row beside the model's own forward pass, option by option."""

import pytest
import torch
from made import KINDS, LLAMA, TINY, randomised

from lmcore.generation.decode_step import DecodeStep, linear_function
from lmcore.model.kv_cache import KVCache

each_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)


def some_ids(rows, length):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(TINY.vocab_size, (rows, length), generator=generator)


def one_by_one(model, ids, cache, transpose_tall=False):
    """Return the features of ids, read after what cache has kept."""
    step = DecodeStep(model, transpose_tall)
    return torch.stack([step.hidden(column, cache) for column in ids.unbind(1)], dim=1)


@each_kind
@pytest.mark.parametrize("transpose_tall", [False, True], ids=["as they lie", "transposed"])
@pytest.mark.parametrize("n_read", [0, 3])
@torch.no_grad()
def test_its_features_are_the_model_s(config, transpose_tall, n_read):
    model, ids = randomised(config), some_ids(3, 8)
    cache = KVCache(config, batch=3, capacity=8)
    if n_read:
        model.hidden(ids[:, :n_read], cache=cache)
    found = one_by_one(model, ids[:, n_read:], cache, transpose_tall)
    expected = model.hidden(ids)[:, n_read:]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@each_kind
@torch.no_grad()
def test_rows_of_different_lengths_go_on_each_from_its_own(config):
    model, ids = randomised(config), some_ids(2, 8)
    cache = KVCache(config, batch=2, capacity=8)
    model.hidden(ids[:, :5], cache=cache)
    cache.lengths = [5, 2]  # what the second row read beyond its second token was padding
    found = one_by_one(model, torch.stack([ids[0, 5:7], ids[1, 2:4]]), cache)
    expected = [model.hidden(ids[:1, :7])[:, 5:], model.hidden(ids[1:, :4])[:, 2:]]
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [TINY, LLAMA], ids=["TINY", "LLAMA"])
@torch.no_grad()
def test_a_model_in_bfloat16_computes_in_it(config):
    model, ids = randomised(config).bfloat16(), some_ids(2, 8)
    found = one_by_one(model, ids, KVCache(config, batch=2, capacity=8))
    assert found.dtype == torch.bfloat16
    expected = randomised(config).hidden(ids)
    assert (found - expected).norm() < 0.1 * expected.norm()


def test_a_full_cache_is_an_error_with_both_sizes():
    model, cache = randomised(TINY), KVCache(TINY, batch=1, capacity=4)
    with pytest.raises(ValueError, match="5 tokens do not fit a cache made for 4"):
        one_by_one(model, some_ids(1, 5), cache)


@torch.no_grad()
def test_a_forward_function_put_in_the_place_of_the_module_s_is_called():
    model, ids = randomised(TINY), some_ids(1, 4)
    model.blocks[0].mlp.forward = torch.zeros_like
    found = one_by_one(model, ids, KVCache(TINY, batch=1, capacity=4))
    torch.testing.assert_close(found, model.hidden(ids), rtol=0, atol=1e-5)
    assert not torch.allclose(found, randomised(TINY).hidden(ids), atol=1e-3)


@pytest.mark.parametrize(("rows", "is_copied"), [(9, True), (6, False), (4, False)])
def test_only_tall_weights_are_copied_in_transposed_layout(rows, is_copied):
    module = torch.nn.Linear(6, rows, bias=False)
    (weight,) = (
        cell.cell_contents for cell in linear_function(module, transpose_tall=True).__closure__
    )
    assert torch.equal(weight, module.weight.t())
    assert weight.is_contiguous() == is_copied
    assert (weight.data_ptr() == module.weight.data_ptr()) != is_copied

"""The cache of keys and values changes the speed and nothing else."""

import pytest
import torch
from made import KINDS, TINY, random_ids, randomised

from lmcore.model.gpt import GPT
from lmcore.model.kv_cache import KVCache

each_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)


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
def test_logits_with_a_cache_equal_those_without(config, cuts):
    model, ids = randomised(config), random_ids(2, 8)
    with torch.no_grad():
        expected = model(ids)
    torch.testing.assert_close(cached(model, ids, cuts), expected, rtol=0, atol=1e-5)


@each_kind
def test_rows_of_different_lengths_share_a_cache(config):
    model, ids = randomised(config), random_ids(2, 8)
    cache = KVCache(config, batch=2, capacity=8)
    with torch.no_grad():
        model(ids[:, :5], cache=cache)
        cache.lengths = [5, 2]  # what the second row read beyond its second token was padding
        next_ids = torch.stack([ids[0, 5:7], ids[1, 2:4]])
        actual = torch.cat([model(next_ids[:, i : i + 1], cache=cache) for i in (0, 1)], dim=1)
        expected = [model(ids[:1, :7])[:, 5:], model(ids[1:, :4])[:, 2:]]
    torch.testing.assert_close(actual, torch.cat(expected), rtol=0, atol=1e-5)


def test_a_cache_that_is_too_small_is_an_error_with_both_sizes():
    cache = KVCache(TINY, batch=1, capacity=4)
    with pytest.raises(ValueError, match="5 tokens do not fit a cache made for 4"):
        GPT(TINY)(random_ids(1, 5), cache=cache)


def test_ropes_table_is_computed_once_for_all_tokens_of_a_cache():
    model = randomised(KINDS["llama"])
    cache = KVCache(model.config, batch=2, capacity=8)
    ids = random_ids(2, 8)
    model(ids[:, :3], cache=cache)
    table = cache.table
    for place in range(3, 8):
        model(ids[:, place : place + 1], cache=cache)
    assert table is not None
    assert cache.table is table

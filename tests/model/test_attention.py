"""Attention against torch's own, and what masks let through."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lmcore.model.attention import Attention
from lmcore.model.dot_product import attend
from lmcore.model.masks import causal_mask, document_starts


@given(q_len=st.integers(1, 9), earlier=st.integers(0, 9), heads=st.integers(1, 3))
def test_causal_attention_equals_torchs_where_the_last_query_sees_every_key(q_len, earlier, heads):
    generator = torch.Generator().manual_seed(q_len)
    k_len = q_len + earlier
    q, k, v = (torch.randn(2, heads, n, 4, generator=generator) for n in (q_len, k_len, k_len))
    seen = torch.ones(q_len, k_len, dtype=torch.bool).tril(earlier)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    torch.testing.assert_close(attend(q, k, v, causal=True), expected, rtol=0, atol=1e-6)


@given(st.lists(st.booleans(), min_size=20, max_size=20))
def test_queries_attend_where_the_mask_is_true(bits):
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


def test_without_a_mask_queries_attend_to_everything():
    q, k, v = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    expected = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(attend(q, k, v), expected, rtol=0, atol=1e-6)


def test_attention_stays_finite_for_enormous_scores():
    q = torch.full((1, 4, 2), 1e4)
    assert attend(q, q, q, causal=True).isfinite().all()


def test_the_causal_mask_of_one_query_hides_nothing():
    assert causal_mask(1, 5, torch.device("cpu")).all()


def test_a_document_starts_where_the_number_changes():
    actual = document_starts(torch.tensor([[7, 7, 3, 3, 3, 7], [1, 2, 3, 4, 5, 6]]))
    assert actual.tolist() == [[0, 0, 2, 2, 2, 5], [0, 1, 2, 3, 4, 5]]


def test_attention_with_given_weights_equals_torchs_module():
    torch.manual_seed(0)
    ours, theirs = Attention(16, 2).eval(), torch.nn.MultiheadAttention(16, 2, batch_first=True)
    theirs.in_proj_weight, theirs.in_proj_bias = ours.qkv.weight, ours.qkv.bias
    theirs.out_proj.weight, theirs.out_proj.bias = ours.out.weight, ours.out.bias
    x = torch.randn(2, 5, 16)
    hidden = ~causal_mask(5, 5, x.device)
    expected, _ = theirs(x, x, x, attn_mask=hidden, need_weights=False)
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-6)

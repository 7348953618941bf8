"""Plain text to tokens against the definition: each merge in its turn, from left to right."""

import random

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from made import join_pair, pre_tokens

from lmcore.tokenizer import encoder as module
from lmcore.tokenizer.bpe import train_bpe
from lmcore.tokenizer.encoder import Encoder
from lmcore.tokenizer.kernels.encoding import LONGEST_CACHED, CompiledEncoder
from lmcore.tokenizer.pretokens import CL100K_PATTERN, GPT2_PATTERN

few_letters = st.text(alphabet="aabbc é'", max_size=40)
part = st.text(alphabet="abc", min_size=1, max_size=3).map(str.encode)
any_merges = st.lists(st.tuples(part, part), max_size=12)
"""Merges in any order: some twice, some whose parts are never made, some that spell the same."""


def reference(text, merges):
    """Return the tokens of text."""
    out = []
    for word in pre_tokens(text):
        for pair in merges:
            word = join_pair(word, pair)
        out += word
    return out


def spelled(encoder, ranks):
    return [encoder.tokens[rank] for rank in ranks]


def compiled(encoder, texts):
    return [spelled(encoder, ranks) for ranks in encoder._compiled(texts)]


@given(merges=any_merges, text=few_letters)
def test_plain_python_applies_any_merges_in_their_order(merges, text):
    encoder = Encoder(merges)
    assert spelled(encoder, encoder.encode(text)) == reference(text, merges)


@given(merges=any_merges, texts=st.lists(few_letters, min_size=1, max_size=3))
def test_compiled_code_applies_any_merges_in_their_order(merges, texts):
    expected = [reference(text, merges) for text in texts]
    assert compiled(Encoder(merges), texts) == expected


@given(corpus=st.text(min_size=1) | few_letters.filter(bool), text=st.text() | few_letters)
def test_trained_merges_are_applied_in_their_order_on_both_ways(corpus, text):
    _, merges = train_bpe([corpus + text], 290)
    encoder = Encoder(merges)
    expected = reference(text, merges)
    assert compiled(encoder, [text]) == [spelled(encoder, encoder.encode(text))] == [expected]


def by_bytes(merges):
    """Return tiktoken's encoder of the same tokens, which joins what spells the first of them."""
    tokens = Encoder(merges).tokens
    return tiktoken.Encoding(
        "by bytes",
        pat_str=GPT2_PATTERN,
        mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
        special_tokens={},
    )


def test_merging_what_spells_a_token_is_not_merging_by_pairs():
    merges = [(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")]
    encoder = Encoder(merges)
    assert spelled(encoder, encoder.encode("abc")) == reference("abc", merges) == [b"a", b"bc"]
    assert spelled(encoder, by_bytes(merges).encode("abc")) == [b"abc"]


@given(corpus=st.text(alphabet="aab ", min_size=1, max_size=80), text=st.text("ab ", max_size=60))
def test_for_trained_merges_both_are_the_same(corpus, text):
    _, merges = train_bpe([corpus], 320)
    assert by_bytes(merges).encode(text) == Encoder(merges).encode(text).tolist()


DOUBLINGS = [(b"a" * 2**i, b"a" * 2**i) for i in range(12)]


@pytest.mark.parametrize("way", ["_interpreted", "_compiled"])
def test_a_pre_token_as_long_as_the_text_is_merged_too(way):
    n, encoder = 20_003, Encoder(DOUBLINGS)
    [ranks] = getattr(encoder, way)(["a" * n])
    rest = [len(token) for token in spelled(encoder, ranks[n // 4096 :])]
    assert set(ranks[: n // 4096]) == {len(encoder.tokens) - 1}
    assert rest == [2**i for i in range(11, -1, -1) if n % 4096 & 2**i]


@given(texts=st.lists(few_letters, max_size=6))
def test_many_texts_give_the_ranks_of_each_in_order(texts):
    encoder = Encoder(DOUBLINGS)
    together = [ranks.tolist() for ranks in encoder.encode_many(texts)]
    assert together == [encoder.encode(text).tolist() for text in texts]


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, CL100K_PATTERN])
@given(texts=st.lists(few_letters, max_size=4), batch=st.integers(1, 30))
def test_pieces_change_no_ranks(monkeypatch, pattern, texts, batch):
    expected = [Encoder(DOUBLINGS, pattern)._interpreted([text])[0].tolist() for text in texts]
    monkeypatch.setattr(module, "BATCH", batch)
    monkeypatch.setattr(module, "PATIENCE", 20)
    monkeypatch.setattr(module, "FEW", 0)
    encoder = Encoder(DOUBLINGS, pattern)
    assert [ranks.tolist() for ranks in encoder.encode_many(texts)] == expected


@given(texts=st.lists(few_letters, min_size=1, max_size=8))
def test_a_full_cache_is_emptied_and_changes_no_tokens(texts):
    encoder = Encoder(DOUBLINGS)
    lengths = np.array([len(token) for token in encoder.tokens])
    tiny = CompiledEncoder(np.array(encoder._rules), lengths, 1_000, 2, LONGEST_CACHED)
    for _ in range(2):
        tokens = [spelled(encoder, ranks) for ranks in tiny.encode(texts)]
        assert tokens == [reference(text, DOUBLINGS) for text in texts]


def test_plain_python_forgets_what_it_cannot_hold(monkeypatch):
    monkeypatch.setattr(module, "MOST_CACHED", 3)
    encoder, text = Encoder(DOUBLINGS), "a b c d e aa aaa " * 3
    assert spelled(encoder, encoder.encode(text)) == reference(text, DOUBLINGS)
    assert len(encoder._cache) <= 3


def test_all_bytes_are_kept_whatever_the_text():
    points = [chr(i) for i in range(0x3000) if not 0xD800 <= i < 0xE000]
    text = "".join(random.Random(0).choices(points, k=2_000)) + "\0" * 99
    encoder = Encoder(train_bpe([text], 400)[1])
    for ranks in (*encoder._interpreted([text]), *encoder._compiled([text])):
        assert b"".join(spelled(encoder, ranks)).decode() == text


@pytest.mark.parametrize("way", ["_interpreted", "_compiled"])
def test_no_text_has_no_ranks(way):
    encoder = Encoder([])
    assert [ranks.tolist() for ranks in getattr(encoder, way)(["", "a", ""])] == [[], [97], []]
    assert encoder.encode("").dtype == np.int32


@pytest.mark.parametrize("way", ["_interpreted", "_compiled"])
def test_a_lone_surrogate_is_an_error(way):
    with pytest.raises(ValueError, match="surrogate"):
        getattr(Encoder([]), way)(["ab\ud800"])


@pytest.mark.parametrize(("pattern", "says"), [("(a", "not a regular"), ("a*", "empty")])
def test_a_pattern_that_finds_no_pre_tokens_is_an_error(pattern, says):
    with pytest.raises(ValueError, match=says):
        Encoder([], pattern)

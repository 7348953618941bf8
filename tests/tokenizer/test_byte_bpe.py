"""Encoding against the definition: merges in their order, inside each pre-token."""

import itertools
import random
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from made import join_pair, pre_tokens

from lmcore.tokenizer import base as module
from lmcore.tokenizer.base import smallest_dtype
from lmcore.tokenizer.bpe import train_bpe
from lmcore.tokenizer.byte_bpe import Tokenizer

TEXT = "the cat sat on the mat; the rat's cats sat 1999 times.\n\n  Thé naïve café\tête "
SPECIALS = ("<pad>", "<eos>", "<eos><eos>")
any_text = st.text(max_size=60)
near_text = st.text(alphabet="tehcaésr' 19\n\t\x1c\x85\u2028<eospad>", max_size=60)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([TEXT], 300, SPECIALS)


def reference(text, tokenizer):
    """Return the ids of text: cut at the longest special, then one merge after the other."""
    ids = {token: id for id, token in tokenizer.vocab.items()}
    out, plain, i = [], "", 0
    while i <= len(text):
        here = [special for special in tokenizer.special_tokens if text.startswith(special, i)]
        if here or i == len(text):
            for word in pre_tokens(plain):
                for pair in tokenizer.merges:
                    word = join_pair(word, pair)
                out += [ids[token] for token in word]
            plain = ""
        if here:
            out.append(ids[max(here, key=len).encode()])
            i += len(max(here, key=len))
        else:
            plain += text[i : i + 1]
            i += 1
    return out


@given(text=any_text | near_text)
def test_decoding_what_was_encoded_gives_the_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=any_text | near_text)
def test_encoding_applies_the_merges_in_their_order_inside_each_pre_token(tokenizer, text):
    assert tokenizer.encode(text) == reference(text, tokenizer)


@given(
    corpus=st.text(alphabet="ab ", min_size=1, max_size=60),
    text=st.text(alphabet="ab ", max_size=30),
    n_merges=st.integers(0, 20),
)
def test_encoding_equals_the_reference_for_any_training_text(corpus, text, n_merges):
    tokenizer = Tokenizer(*train_bpe([corpus], 256 + n_merges))
    assert tokenizer.encode(text) == reference(text, tokenizer)


def test_the_longest_of_overlapping_specials_wins(tokenizer):
    ids = tokenizer.special_tokens
    assert tokenizer.encode("<eos><eos><eos>") == [ids["<eos><eos>"], ids["<eos>"]]


@given(text=near_text, seed=st.integers(0, 100))
def test_ids_may_stand_in_any_order(tokenizer, text, seed):
    order = list(tokenizer.vocab)
    random.Random(seed).shuffle(order)
    moved = dict(zip(tokenizer.vocab, order, strict=True))
    shuffled = Tokenizer(
        {moved[id]: token for id, token in tokenizer.vocab.items()}, tokenizer.merges, SPECIALS
    )
    assert shuffled.encode(text) == [moved[id] for id in tokenizer.encode(text)]


def test_specials_missing_from_the_vocabulary_get_the_next_free_ids():
    tokenizer = Tokenizer(*train_bpe(["abc"], 258), special_tokens=["<a>", "<b>"])
    assert tokenizer.special_tokens == {"<a>": 258, "<b>": 259}


def test_documents_are_closed_by_the_special_and_hold_no_special_inside(tokenizer):
    end = tokenizer.special_tokens["<eos>"]
    ids = tokenizer.encode_documents(["the cat", "a <eos> b"], "<eos>").tolist()
    first = tokenizer.encode("the cat")
    assert ids[: len(first) + 1] == [*first, end]
    assert ids.count(end) == 2


@given(documents=st.lists(any_text, max_size=4))
def test_documents_decode_to_their_texts_each_closed(tokenizer, documents):
    ids = tokenizer.encode_documents(documents, "<eos>").tolist()
    assert tokenizer.decode(ids) == "".join(text + "<eos>" for text in documents)


@given(text=any_text, at=st.integers(0, 60), surrogate=st.characters(categories=["Cs"]))
def test_a_lone_surrogate_is_an_error_since_no_bytes_stand_for_it(tokenizer, text, at, surrogate):
    with pytest.raises(ValueError, match="surrogate"):
        tokenizer.encode(text[:at] + surrogate + text[at:])


def test_a_lone_surrogate_in_a_document_is_an_error(tokenizer):
    with pytest.raises(ValueError, match="surrogate"):
        tokenizer.encode_documents(["ab\ud800"], "<eos>")


def test_bytes_that_are_not_text_decode_to_the_replacement_character(tokenizer):
    ids = {token: id for id, token in tokenizer.vocab.items()}
    assert tokenizer.decode([ids[b"t"], ids[b"\xc3"], ids[b"t"]]) == "t\ufffdt"


@pytest.mark.parametrize("id", [-1, 300, 10**12])
def test_an_unknown_id_is_an_error_that_names_it(tokenizer, id):
    with pytest.raises(ValueError, match=f"id {id} "):
        tokenizer.decode([0, id])


def test_a_vocabulary_without_a_merged_token_is_an_error_that_names_it():
    vocab, merges = train_bpe(["abab"], 257)
    del vocab[256]
    with pytest.raises(ValueError, match="b'ab'"):
        Tokenizer(vocab, merges)


VOCAB, MERGES = train_bpe([TEXT], 280, SPECIALS)
VARIANTS = {
    "as it is": (VOCAB, MERGES, SPECIALS),
    "another special": (VOCAB, MERGES, (*SPECIALS, "<mask>")),
    "no special": (VOCAB, MERGES, ()),
    "merges in another order": (VOCAB, MERGES[::-1], SPECIALS),
    "ids in another order": ({len(VOCAB) - id: t for id, t in VOCAB.items()}, MERGES, SPECIALS),
    "one token more": (VOCAB | {len(VOCAB): b"never merged"}, MERGES, SPECIALS),
    "another pattern": (VOCAB, MERGES, SPECIALS, r"\S+|\s+"),
}
WHOLE = Tokenizer(VOCAB, MERGES, SPECIALS, ignore_merges=True)


def test_tokenizers_that_differ_have_different_fingerprints():
    fingerprints = {name: Tokenizer(*made).fingerprint for name, made in VARIANTS.items()}
    fingerprints["whole tokens"] = WHOLE.fingerprint
    assert len(set(fingerprints.values())) == len(VARIANTS) + 1, fingerprints


def test_a_fingerprint_is_the_same_for_the_same_tokenizer(tokenizer):
    assert Tokenizer.train([TEXT], 300, SPECIALS).fingerprint == tokenizer.fingerprint


@given(text=near_text)
def test_no_token_crosses_a_special(tokenizer, text):
    assume("<" not in text)
    end = tokenizer.special_tokens["<pad>"]
    both = tokenizer.encode(f"{text}<pad>{text}")
    assert both == [*tokenizer.encode(text), end, *tokenizer.encode(text)]


@pytest.mark.parametrize("pattern", ["", "a*", "("])
def test_a_pattern_that_cannot_cut_a_text_is_an_error_that_names_it(pattern):
    with pytest.raises(ValueError, match=f"pattern '{re.escape(pattern)}'"):
        Tokenizer(VOCAB, MERGES, (), pattern)


@given(text=any_text)
def test_text_that_a_pattern_does_not_match_is_pre_tokens_too(text):
    tokenizer = Tokenizer(VOCAB, MERGES, (), "[a-z]+")
    assert tokenizer.decode(tokenizer.encode(text)) == text


# Specials, arrays, batches


def test_specials_taken_as_text_are_encoded_like_any_other(tokenizer):
    ids = tokenizer.encode("a <eos> b", special="text")
    assert not set(ids) & set(tokenizer.special_tokens.values())
    assert tokenizer.decode(ids) == "a <eos> b"


@pytest.mark.parametrize("pieces", [["naïve <eos> b<pad>"], ["naï", "ve <", "e", "os> b<pad>"]])
def test_a_forbidden_special_is_an_error_that_names_it_and_its_place(tokenizer, pieces):
    with pytest.raises(ValueError, match="'<eos>' is at character 6"):
        list(tokenizer.encode_iterable(pieces, special="forbid"))


def test_forbidding_specials_changes_nothing_where_there_are_none(tokenizer):
    assert tokenizer.encode("<eos the>", special="forbid") == tokenizer.encode("<eos the>")


def test_an_empty_special_is_an_error():
    with pytest.raises(ValueError, match="special token is empty"):
        Tokenizer(*train_bpe(["ab"], 256), [""])


@pytest.mark.parametrize("id", [-1, 2**32])
def test_an_id_that_no_array_holds_is_an_error_that_names_it(id):
    vocab, merges = train_bpe(["ab"], 256)
    with pytest.raises(ValueError, match=f"id {id} "):
        Tokenizer(vocab | {id: b"never merged"}, merges)


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(65_536, np.uint16), (65_537, np.uint32), (2**31, np.uint32)]
)
def test_the_smallest_type_that_holds_every_id_is_taken(vocab_size, dtype):
    assert smallest_dtype(vocab_size) is dtype


@pytest.mark.parametrize(("largest", "dtype"), [(2**16 - 1, np.uint16), (2**16, np.uint32)])
def test_an_array_holds_the_largest_id(largest, dtype):
    vocab, merges = train_bpe(["ab"], 256)
    tokenizer = Tokenizer(vocab | {largest: b"<eos>"}, merges, ["<eos>"])
    ids = tokenizer.encode_array("<eos>")
    assert (ids.dtype, ids.tolist()) == (dtype, [largest])


@given(text=any_text | near_text)
def test_an_array_holds_what_the_list_holds(tokenizer, text):
    assert tokenizer.encode_array(text).tolist() == tokenizer.encode(text)


@given(texts=st.lists(near_text, max_size=6), workers=st.integers(1, 3), size=st.integers(1, 99))
def test_a_batch_holds_the_ids_of_each_text_for_any_number_of_threads(
    monkeypatch, tokenizer, texts, workers, size
):
    monkeypatch.setattr(module, "BATCH", size)
    expected = [tokenizer.encode(text) for text in texts]
    assert tokenizer.encode_batch(texts, workers=workers) == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_takes_no_more_texts_than_it_needs(monkeypatch, tokenizer, workers):
    monkeypatch.setattr(module, "BATCH", 10)
    read = []
    texts = (read.append(number) or "the cat sat" for number in itertools.count())
    some = list(itertools.islice(tokenizer.encode_many(texts, workers=workers), 20))
    assert len(some) <= len(read) <= len(some) + workers


def test_an_error_in_a_thread_comes_to_the_caller(tokenizer):
    with pytest.raises(ValueError, match="'<eos>' is at character 3"):
        tokenizer.encode_batch(["the", "cat<eos>"], "forbid", workers=2)


@given(texts=st.lists(near_text, min_size=1, max_size=6), workers=st.integers(2, 3))
def test_chunks_give_the_same_ids_for_any_number_of_threads(tokenizer, texts, workers):
    ids = np.concatenate(list(tokenizer.encode_chunks([*texts, "."], workers=workers)))
    assert ids.tolist() == tokenizer.encode("".join([*texts, "."]))


# Streams

HARD_SPECIALS = ("<e>", "<e><e>", "a b", " <", "\n\n", "ab", "b")
hard_text = st.text(alphabet="ab<e> \n\t1'sé\x00", max_size=40)


@pytest.fixture(scope="module", params=["GPT-2's pattern", "an unknown pattern"])
def hard(request):
    """A tokenizer whose specials overlap each other and blanks."""
    vocab, merges = train_bpe([TEXT], 300)
    patterns = {"an unknown pattern": [r"[^\n]+\n?(?!b)|[\s\S]"]}
    return Tokenizer(vocab, merges, HARD_SPECIALS, *patterns.get(request.param, []))


def cut_at(text, places):
    places = sorted(place % (len(text) + 1) for place in places)
    return [text[i:j] for i, j in itertools.pairwise([0, *places, len(text)])]


@given(text=hard_text, places=st.lists(st.integers(0, 40), max_size=8))
def test_ids_of_a_stream_do_not_depend_on_how_it_is_cut(hard, text, places):
    assert list(hard.encode_iterable(cut_at(text, places))) == hard.encode(text)


@given(text=hard_text | any_text)
def test_ids_of_a_stream_of_single_characters_are_those_of_the_text(hard, text):
    assert list(hard.encode_iterable(text)) == hard.encode(text)


@given(text=hard_text)
def test_a_stream_takes_specials_as_text_if_asked(hard, text):
    assert list(hard.encode_iterable(text, "text")) == hard.encode(text, "text")


@given(words=st.lists(hard_text, min_size=1), times=st.integers(1_000, 4_000))
def test_a_stream_longer_than_what_it_gathers_has_the_same_ids(tokenizer, words, times):
    chunks = words * (times // (1 + len(words)))
    assert list(tokenizer.encode_iterable(chunks)) == tokenizer.encode("".join(chunks))


def test_a_stream_reads_no_further_than_it_must(tokenizer):
    read = []
    chunks = (read.append(word) or word for word in itertools.repeat("the cat, "))
    ids = list(itertools.islice(tokenizer.encode_iterable(chunks), 50_000))
    read_ids = tokenizer.encode("".join(read))
    assert ids == read_ids[:50_000]
    assert len("".join(read)) < len(tokenizer.decode(ids)) + 2**15


def test_the_first_ids_of_a_stream_come_with_the_first_words(tokenizer):
    chunks = iter(["the cat ", "sat ", "on"])
    next(tokenizer.encode_iterable(chunks))
    assert list(chunks) == ["sat ", "on"]


def test_a_stream_of_blanks_or_of_none_ends_with_the_ids_of_its_text(tokenizer):
    for text in ("", " ", "\n" * 50_000, "a" * 50_000, "<eos" * 10_000):
        assert list(tokenizer.encode_iterable(cut_at(text, range(0, 50_000, 97)))) == (
            tokenizer.encode(text)
        )


# Decoding

byte_ids = st.lists(st.integers(0, 299), max_size=30)


@given(raw=st.binary(max_size=30))
def test_any_bytes_come_back_from_the_ids_of_single_bytes(tokenizer, raw):
    ids = {token: id for id, token in tokenizer.vocab.items()}
    assert tokenizer.decode_bytes(ids[bytes([byte])] for byte in raw) == raw


@given(ids=byte_ids)
def test_a_decoded_stream_is_joined_the_text_of_all(tokenizer, ids):
    assert "".join(tokenizer.decode_stream(ids)) == tokenizer.decode(ids)


@given(text=st.text(max_size=20))
def test_a_decoded_stream_never_gives_half_a_character(text):
    tokenizer = Tokenizer(*train_bpe(["ab"], 256))
    assert list(tokenizer.decode_stream(tokenizer.encode(text))) == list(text)


def test_a_decoded_stream_does_not_wait_for_the_next_id(tokenizer):
    ids = iter(tokenizer.encode("the cat"))
    first = next(tokenizer.decode_stream(ids))
    assert tokenizer.decode(ids) == "the cat".removeprefix(first)


def test_bytes_per_token_is_the_length_of_the_text_over_that_of_its_ids(tokenizer):
    assert tokenizer.bytes_per_token("naïve") == 6 / len(tokenizer.encode("naïve"))


def test_an_empty_text_has_no_bytes_per_token(tokenizer):
    with pytest.raises(ValueError, match="empty"):
        tokenizer.bytes_per_token("")


@pytest.mark.parametrize(
    ("token", "text", "written", "says"),
    [
        (b" ", " ", "Ġ", "stand-ins"),
        (b"\xc3", None, "Ã", "not whole"),
        (b"<pad>", "<pad>", "<pad>", "special"),
        (b"a", "a", "a", ""),
    ],
)
def test_a_token_is_shown_with_the_reason_for_its_looks(tokenizer, token, text, written, says):
    ids = {token: id for id, token in tokenizer.vocab.items()}
    shown = tokenizer.describe(ids[token])
    assert (shown.bytes, shown.text, shown.written) == (token, text, written)
    assert says in shown.note


# What results are recorded with


def test_the_fingerprint_and_the_ids_of_a_known_tokenizer_stay(tokenizer):
    ids = tokenizer.encode("the cat sat; ête<eos>")
    assert tokenizer.fingerprint == "3770503baab9e999"
    assert ids == [261, 266, 268, 62, 35, 274, 1]

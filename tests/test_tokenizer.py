"""Encoding against the definition: merges in their order, inside each pre-token."""

import json
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from made import join_pair, pre_tokens

from lmcore.bpe import train_bpe
from lmcore.tokenizer import Tokenizer

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


@pytest.mark.filterwarnings("ignore:the text holds nothing more to merge")
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


def test_saving_and_loading_gives_an_equal_tokenizer(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert parts(loaded) == parts(tokenizer)
    assert loaded.fingerprint == tokenizer.fingerprint


def test_two_ids_of_the_same_bytes_are_told_apart_alike_before_and_after_saving(tmp_path):
    vocab = {300: b"a"} | {byte: bytes([byte]) for byte in range(256)}
    tokenizer = Tokenizer(vocab, [])
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).encode("a") == tokenizer.encode("a")


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


def test_tokenizers_that_differ_have_different_fingerprints():
    fingerprints = {name: Tokenizer(*made).fingerprint for name, made in VARIANTS.items()}
    assert len(set(fingerprints.values())) == len(VARIANTS), fingerprints


def test_a_fingerprint_is_the_same_for_the_same_tokenizer(tokenizer):
    assert Tokenizer.train([TEXT], 300, SPECIALS).fingerprint == tokenizer.fingerprint


@given(keep=st.floats(0, 0.999))
def test_a_tokenizer_file_cut_short_is_an_error_that_names_it(tokenizer, tmp_path, keep):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged"):
        Tokenizer.load(tmp_path)


def parts(tokenizer):
    return tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens, tokenizer.pattern


def loaded_or_error(folder):
    """Return the tokenizer in folder, or what its loading says."""
    try:
        return Tokenizer.load(folder)
    except ValueError as error:
        return str(error)


@given(place=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_or_changes_the_fingerprint_with_the_tokenizer(
    tokenizer, tmp_path, place, bit
):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    raw = bytearray(path.read_bytes())
    raw[int(place * len(raw))] ^= 1 << bit
    path.write_bytes(raw)
    found = loaded_or_error(tmp_path)
    if isinstance(found, str):
        assert str(path) in found
    else:  # a hexadecimal digit in the other case says the same
        assert (found.fingerprint == tokenizer.fingerprint) == (parts(found) == parts(tokenizer))


@pytest.mark.parametrize("stored", [[], "text", {"vocab": []}, {"vocab": {}, "merges": 3}])
def test_another_kind_of_json_is_named_as_damaged(tmp_path, stored):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged"):
        Tokenizer.load(tmp_path)


def test_a_tokenizer_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


@given(text=near_text)
def test_no_token_crosses_a_special(tokenizer, text):
    assume("<" not in text)
    end = tokenizer.special_tokens["<pad>"]
    both = tokenizer.encode(f"{text}<pad>{text}")
    assert both == [*tokenizer.encode(text), end, *tokenizer.encode(text)]

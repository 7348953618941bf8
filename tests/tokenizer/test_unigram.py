"""Unigram behind the interface that all tokenizers share: any text comes back."""

import json
import random

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from lmcore.data.token_files import load_tokens, write_documents
from lmcore.tokenizer.byte_bpe import Tokenizer
from lmcore.tokenizer.unigram import UnigramTokenizer

TEXTS = [f"the cat sat on the mat {i}; the rat's cats sat. naïve café tête" for i in range(60)]
SPECIALS = ("<pad>", "<eos>", "<eos><eos>")
any_text = st.text(max_size=40)
near_text = st.text(alphabet="tehcaésr' 19\n\t\x00\x1c\x85<eospad>", max_size=60)


@pytest.fixture(scope="module")
def tokenizer():
    return UnigramTokenizer.train(TEXTS, 350, SPECIALS)


@given(text=any_text | near_text)
def test_decoding_what_was_encoded_gives_the_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=any_text | near_text)
def test_specials_taken_as_text_come_back_and_are_no_ids(tokenizer, text):
    ids = tokenizer.encode(text, special="text")
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.special_tokens.values())


@given(text=near_text)
def test_ids_of_a_stream_of_single_characters_are_those_of_the_text(tokenizer, text):
    assert list(tokenizer.encode_iterable(text)) == tokenizer.encode(text)


def test_a_file_teaches_what_its_text_teaches(tmp_path):
    text = "<eos>".join(TEXTS)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    from_file = UnigramTokenizer.train(tmp_path / "text.txt", 350, SPECIALS)
    assert from_file.pieces == UnigramTokenizer.train([text], 350, SPECIALS).pieces


def best_score(tokenizer, word):
    """Return the highest sum of scores of pieces that spell word."""
    scores = dict(tokenizer.pieces)
    best = [0.0]
    for end in range(1, len(word) + 1):
        ways = [best[i] + scores[word[i:end]] for i in range(end) if word[i:end] in scores]
        best.append(max(ways))
    return best[-1]


@given(word=st.text(alphabet="thecatsoné", min_size=1, max_size=12))
def test_the_pieces_of_a_word_have_the_highest_sum_of_scores(tokenizer, word):
    ids = tokenizer.encode(word)
    found = sum(tokenizer.pieces[id][1] for id in ids)
    assert found == pytest.approx(best_score(tokenizer, word.encode()), abs=1e-9)


def test_training_again_gives_the_same_tokenizer(tokenizer):
    again = UnigramTokenizer.train(iter(TEXTS), 350, SPECIALS)
    assert again.fingerprint == tokenizer.fingerprint


def test_specials_come_first_and_no_piece_spells_one(tokenizer):
    trained = UnigramTokenizer.train([text + "<eos>" for text in TEXTS], 350, SPECIALS)
    assert trained.special_tokens == {"<pad>": 0, "<eos>": 1, "<eos><eos>": 2}
    assert trained.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("vocab_size", [280, 320])
def test_the_vocabulary_is_as_large_as_asked(vocab_size):
    words = ["".join(random.Random(i).choices("abcdefgh", k=5)) for i in range(300)]
    texts = [" ".join(random.Random(i).choices(words[: i + 1], k=20)) for i in range(300)]
    assert UnigramTokenizer.train(texts, vocab_size, SPECIALS).vocab_size == vocab_size


def test_a_text_of_one_character_gives_the_bytes():
    assert UnigramTokenizer.train(["a"], 300).vocab_size == 256


@pytest.mark.parametrize("texts", [[], ["", "<eos>"]])
def test_no_text_is_an_error(texts):
    with pytest.raises(ValueError, match="no text"):
        UnigramTokenizer.train(texts, 300, SPECIALS)


def test_a_vocabulary_without_room_for_the_bytes_is_an_error_with_the_sizes():
    with pytest.raises(ValueError, match=r"258 .*259"):
        UnigramTokenizer.train(TEXTS, 258, SPECIALS)


def test_a_lone_surrogate_is_an_error(tokenizer):
    with pytest.raises(ValueError, match="surrogate"):
        tokenizer.encode("ab\ud800")


def test_saving_and_loading_gives_an_equal_tokenizer(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = UnigramTokenizer.load(tmp_path)
    assert (loaded.pieces, loaded.fingerprint) == (tokenizer.pieces, tokenizer.fingerprint)


def test_a_special_added_later_is_saved_too(tokenizer, tmp_path):
    more = UnigramTokenizer(tokenizer.pieces, [*SPECIALS, "<mask>"])
    more.save(tmp_path)
    loaded = UnigramTokenizer.load(tmp_path)
    assert loaded.encode("a<mask>") == [*tokenizer.encode("a"), tokenizer.vocab_size]
    assert loaded.fingerprint == more.fingerprint


@pytest.fixture(scope="module")
def theirs(tokenizer, tmp_path_factory):
    """Our file as the library opens it."""
    folder = tmp_path_factory.mktemp("saved")
    tokenizer.save(folder)
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@given(text=near_text)
def test_the_library_reads_our_file_with_our_ids(tokenizer, theirs, text):
    assert theirs.encode(text).ids == tokenizer.encode(text)


def test_a_bpe_does_not_open_it_and_says_why(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    with pytest.raises(ValueError, match="model type 'Unigram', which Tokenizer does not support"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("change", ["no byte", "twice", "no number", "not finite"])
def test_a_damaged_file_is_an_error_that_names_it(tokenizer, tmp_path, change):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    pieces = stored["model"]["vocab"]
    pieces[-1] = {
        "no byte": ["never", -1.0],
        "twice": pieces[-2],
        "no number": [pieces[-1][0], "1"],
        "not finite": [pieces[-1][0], float("nan")],
    }[change]
    path.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json is damaged"):
        UnigramTokenizer.load(tmp_path)


def test_a_token_file_knows_a_unigram_tokenizer_too(tokenizer, tmp_path):
    write_documents(tmp_path / "t.npy", TEXTS[:2], tokenizer, "<eos>")
    tokens = load_tokens(tmp_path / "t.npy", tokenizer, verify=True)
    assert np.array_equal(tokens.ids, tokenizer.encode_documents(TEXTS[:2], "<eos>"))

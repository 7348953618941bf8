"""BPE training against a reference that counts every pair anew before each merge."""

from collections import Counter
from itertools import pairwise

import pytest
import regex
from hypothesis import assume, given
from hypothesis import strategies as st
from made import join_pair, pre_tokens

from lmcore.bpe import train_bpe

END = "<|end|>"
few_letters = st.text(alphabet="ab c\n'1é", min_size=1, max_size=60)
any_text = st.text(min_size=1, max_size=40)
repetitive = st.integers(1, 30).map(lambda n: "a" * n)


def reference(text, vocab_size, specials=()):
    """Return (vocab, merges) as train_bpe promises them, without keeping any count."""
    cut = "|".join(regex.escape(special) for special in sorted(specials, key=len, reverse=True))
    parts = regex.split(cut, text) if specials else [text]
    words = [word for part in parts for word in pre_tokens(part)]
    vocab = [special.encode() for special in specials] + [bytes([b]) for b in range(256)]
    merges = []
    while len(vocab) < vocab_size:
        counts = Counter(pair for word in words for pair in pairwise(word))
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        merges.append(best)
        words = [join_pair(word, best) for word in words]
        if b"".join(best) not in vocab:
            vocab.append(b"".join(best))
    return dict(enumerate(vocab)), merges


@given(text=few_letters | any_text | repetitive, n_merges=st.integers(0, 25))
def test_training_equals_counting_every_pair_anew_before_each_merge(text, n_merges):
    assert train_bpe([text], 256 + n_merges) == reference(text, 256 + n_merges)


@given(
    words=st.lists(st.text(alphabet="ab<|endx>", max_size=6), min_size=2, max_size=12),
    n_merges=st.integers(0, 20),
)
def test_training_with_specials_equals_the_reference(words, n_merges):
    text, size = END.join(words), 257 + n_merges
    assume(any(words))
    assert train_bpe([text], size, [END]) == reference(text, size, [END])


@given(documents=st.lists(few_letters, min_size=1, max_size=5), n_merges=st.integers(0, 15))
def test_a_special_separates_as_the_end_of_a_document_does(documents, n_merges):
    size = 257 + n_merges
    assert train_bpe([END.join(documents)], size, [END]) == train_bpe(documents, size, [END])


def test_a_tie_goes_to_the_lexicographically_greater_pair():
    _, merges = train_bpe(["ab\ncd\nab\ncd"], 257)
    assert merges == [(b"c", b"d")]


def test_a_tie_is_broken_by_the_bytes_of_the_tokens_and_not_by_their_ids():
    _, merges = train_bpe(["zz\nzz\nzz\nzza\nyb\nyb\nyb\nyb\nyb"], 259)
    assert merges == [(b"y", b"b"), (b"z", b"z"), (b"zz", b"a")]


def test_the_text_of_a_special_is_never_counted():
    _, merges = train_bpe([END * 50 + "xy"], 300, [END])
    assert merges == [(b"x", b"y")]


@given(few_letters, st.integers(0, 10), st.sampled_from([(), (END,), ("<pad>", "<eos>", "<unk>")]))
def test_vocab_size_counts_bytes_and_specials_and_merged_tokens(text, n_new, specials):
    vocab, merges = train_bpe([text], 256 + len(specials) + n_new, specials)
    merged = {left + right for left, right in merges}
    assert len(vocab) == 256 + len(specials) + len(merged) <= 256 + len(specials) + n_new


def test_ids_count_specials_first_then_bytes_then_merges():
    vocab, _ = train_bpe(["ab"], 300, ["<pad>", END])
    assert list(vocab.values()) == [
        b"<pad>",
        END.encode(),
        *(bytes([b]) for b in range(256)),
        b"ab",
    ]


def test_a_text_too_small_for_the_vocabulary_gives_a_smaller_one():
    vocab, merges = train_bpe(["abc"], 10_000)
    assert (len(vocab), len(merges)) == (258, 2)


def test_a_vocabulary_too_small_for_bytes_and_specials_is_an_error_with_both_sizes():
    with pytest.raises(ValueError, match=r"vocab_size 256 is too small.* need 257"):
        train_bpe(["abc"], 256, [END])


@pytest.mark.parametrize("texts", [[], [""], ["", ""], [END * 3]])
def test_a_text_with_nothing_to_count_is_an_error(texts):
    with pytest.raises(ValueError, match="no text"):
        train_bpe(texts, 300, [END])


@given(text=few_letters | st.text(alphabet="a\r\n ", min_size=1))
def test_a_file_gives_what_its_text_gives(text, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    assert train_bpe(path, 270) == train_bpe([text], 270)


def test_a_path_may_be_a_string(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("low lower lowest", encoding="utf-8")
    assert train_bpe(str(path), 260) == train_bpe(path, 260)


def test_a_special_given_twice_counts_once():
    assert train_bpe(["ab"], 300, [END, END]) == train_bpe(["ab"], 300, [END])

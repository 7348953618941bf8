"""BPE training against a reference that counts every pair anew before each merge."""

import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from hypothesis import assume, given
from hypothesis import strategies as st
from made import join_pair, pre_tokens

from lmcore.tokenizer import bpe
from lmcore.tokenizer.bpe import count_pre_tokens, merge_pairs, train_bpe
from lmcore.tokenizer.kernels import merging
from lmcore.tokenizer.kernels.counting import as_words, count_words
from lmcore.tokenizer.kernels.merging import merge_words
from lmcore.tokenizer.pretokens import CL100K_PATTERN

END = "<|end|>"
few_letters = st.text(alphabet="ab c\n'1é", min_size=1, max_size=60)
any_text = st.text(min_size=1, max_size=40)
repetitive = st.integers(1, 30).map(lambda n: "a" * n)
counted_words = st.dictionaries(
    st.binary(min_size=1, max_size=8) | st.text("ab", min_size=1, max_size=30).map(str.encode),
    st.integers(1, 5),
    min_size=1,
    max_size=12,
)


@pytest.fixture
def compiled(monkeypatch):
    """Let every text count as large."""
    monkeypatch.setattr(bpe, "SMALL", -1)


def counter_of(words):
    """Return words in arrays as a Counter."""
    raw, starts = words.text.tobytes(), words.starts.tolist()
    keys = (raw[start:end] for start, end in pairwise(starts))
    return Counter(dict(zip(keys, words.counts.tolist(), strict=True)))


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


@given(text=few_letters | any_text | repetitive, n_merges=st.integers(0, 25))
def test_compiled_training_equals_the_reference_too(compiled, text, n_merges):
    assert train_bpe([text], 256 + n_merges) == reference(text, 256 + n_merges)


@given(counts=counted_words, n_new=st.integers(0, 80))
def test_compiled_merges_are_those_of_plain_python(counts, n_new):
    words = as_words(Counter(counts))
    assert merge_words(words, n_new) == merge_pairs(Counter(counts), n_new)


def test_places_numbered_with_64_bits_change_nothing(monkeypatch):
    counts = count_pre_tokens(["low lower lowest slow slower aaaaaaa"])
    monkeypatch.setattr(merging, "WIDE", 0)
    assert merge_words(as_words(counts), 20) == merge_pairs(counts, 20)


@pytest.mark.parametrize("letters", ["ab", "abc ", "abcdefghij "])
def test_a_longer_text_gives_the_same_merges_compiled_and_in_plain_python(letters):
    text = "".join(random.Random(0).choices(letters, k=3_000))
    counts = count_pre_tokens([text])
    assert merge_words(as_words(counts), 300) == merge_pairs(counts, 300)


@given(counts=counted_words)
def test_no_two_merges_make_the_same_token(counts):
    joined = [left + right for left, right in merge_pairs(Counter(counts), 300)]
    assert len(set(joined)) == len(joined)


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


def test_a_text_too_small_for_the_vocabulary_gives_a_smaller_one_and_says_its_size():
    with pytest.warns(UserWarning, match=r"has 258 entries, not 10000"):
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


def test_several_files_give_what_their_texts_give(tmp_path):
    texts = ["low lower", " lowest\n", "slow"]
    paths = [tmp_path / str(i) for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    assert train_bpe(paths, 262) == train_bpe(texts, 262)


@given(text=st.text(alphabet="ab c\n'1é<|end>", min_size=1, max_size=200), block=st.integers(1, 50))
def test_blocks_of_any_size_give_the_same(tmp_path, monkeypatch, text, block):
    assume(text.replace(END, ""))
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    whole = train_bpe([text], 270, [END])
    monkeypatch.setattr("lmcore.tokenizer.pretokens.BLOCK", block)
    assert train_bpe(path, 270, [END]) == whole


@given(texts=st.lists(few_letters | any_text, min_size=1, max_size=6), workers=st.integers(1, 3))
def test_counting_in_threads_equals_counting_with_the_regex_module(texts, workers):
    counts = count_words(texts, workers)
    assert counter_of(counts) == count_pre_tokens(texts)


@pytest.mark.parametrize("workers", [1, 3])
def test_counting_makes_room_for_many_words_and_long_ones(workers):
    texts = [" ".join(f"w{i * n}" for i in range(9_000)) + " " + "é" * 200_000 for n in range(1, 4)]
    assert counter_of(count_words(texts, workers)) == count_pre_tokens(texts)


@pytest.mark.parametrize("pattern", [CL100K_PATTERN, r"\S+|\s+"])
def test_another_pattern_gives_the_same_merges_compiled_and_in_plain_python(monkeypatch, pattern):
    texts = ["I'll pay 12345 or\n\n  more\n", "I'LL pay 12345 more"]
    results = []
    for small in (10**6, -1):
        monkeypatch.setattr(bpe, "SMALL", small)
        results.append(train_bpe(texts, 270, pattern=pattern))
    assert results[0] == results[1]


@pytest.mark.parametrize("pattern", [CL100K_PATTERN, r"\S+|\s+"])
def test_another_pattern_counts_what_it_finds(pattern):
    texts = ["I'll pay 12345 or\n\n  more\n", "I'LL"]
    assert count_pre_tokens(texts, pattern) == Counter(
        found.encode() for text in texts for found in regex.findall(pattern, text)
    )


def test_the_number_of_workers_changes_nothing(compiled):
    texts = [f"the {i % 7} cats sat on {i % 5} mats" for i in range(300)]
    assert len({str(train_bpe(texts, 300, workers=n)) for n in (1, 2, 5)}) == 1


def test_a_file_that_is_not_utf_8_is_an_error_with_its_name_and_the_byte(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("é".encode() * 10 + b"abc\xff")
    with pytest.raises(ValueError, match=r"text\.txt is not UTF-8 at byte 23 "):
        train_bpe(path, 300)


def test_bytes_that_are_not_utf_8_are_replaced_on_request(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"abc\xffd\xc3")
    assert train_bpe(path, 300, errors="replace") == train_bpe(["abc\ufffdd\ufffd"], 300)


def test_a_text_without_any_space_or_with_nul_is_a_text_like_another(compiled):
    text = "\0" * 50 + "ACGT" * 50
    assert train_bpe([text], 266) == reference(text, 266)


def test_stopping_while_texts_are_counted_leaves_no_thread_behind(compiled):
    def stopped():
        yield from ["some text"] * 20
        raise KeyboardInterrupt

    n_threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        train_bpe(stopped(), 300, workers=2)
    assert threading.active_count() == n_threads


@pytest.mark.parametrize("small", [10**6, -1], ids=["plain", "compiled"])
def test_both_phases_show_their_progress(tmp_path, monkeypatch, capsys, small):
    monkeypatch.setattr(bpe, "SMALL", small)
    path = tmp_path / "text.txt"
    path.write_text("low lower lowest " * 3, encoding="utf-8")
    train_bpe(path, 260, progress=True)
    shown = capsys.readouterr().err
    assert re.search(r"read: 100%.*B/s", shown)
    assert "merges: 100%" in shown


def test_a_lone_surrogate_is_an_error_on_both_ways(monkeypatch):
    for small in (100, -1):
        monkeypatch.setattr(bpe, "SMALL", small)
        with pytest.raises(ValueError, match="surrogate"):
            train_bpe(["ab\ud800"], 300)


def test_one_endless_word_is_merged_in_no_more_than_linear_steps():
    _, merges = train_bpe(["a" * 200_000], 256 + 10)
    assert merges == [(b"a" * 2**i, b"a" * 2**i) for i in range(10)]


def test_an_empty_special_is_an_error():
    with pytest.raises(ValueError, match="special token is empty"):
        train_bpe(["ab"], 300, [""])


@pytest.mark.parametrize("small", [10**6, -1], ids=["plain", "compiled"])
def test_no_seed_of_hashes_changes_the_merges(small):
    code = (
        "import sys;"
        "from lmcore.tokenizer import bpe;"
        f"bpe.SMALL = {small};"
        "text = ' '.join(f'{i * i % 97:b}' for i in range(200));"
        "sys.stdout.write(str(bpe.train_bpe([text], 290)))"
    )
    root = Path(__file__).resolve().parents[2]
    outputs = {
        subprocess.check_output(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=root
        )
        for seed in "12"
    }
    assert len(outputs) == 1

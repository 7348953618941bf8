"""Metrics of generated text: laws first, then examples small enough to count by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmcore.evaluation.text_metrics import (
    INDEXED,
    TextIndex,
    distinct_n,
    repetition,
    text_metrics,
    words_of,
)

STORY = "Tom saw a big red ball. Tom saw a cat. The cat ran to the big red ball."
WORDS = st.lists(st.sampled_from("abc"), max_size=12)


def longest_by_search(words, texts):
    """Return the longest run of words in any of texts, by trying all of them."""
    runs = [words[i:j] for i in range(len(words)) for j in range(i + INDEXED, len(words) + 1)]
    known = {tuple(text[i:j]) for text in texts for i in range(len(text)) for j in range(99)}
    return max((len(run) for run in runs if tuple(run) in known), default=0)


def test_words_are_lower_case_and_marks_are_words_of_their_own():
    assert words_of('Tom said, "Don\'t!"') == ["tom", "said", ",", '"', "don't", "!", '"']


@given(st.lists(WORDS, min_size=1, max_size=3), WORDS)
def test_the_longest_copy_is_the_one_that_trying_everything_finds(texts, words):
    index = TextIndex([" ".join(text) for text in texts])
    assert index.longest_copy(words) == longest_by_search(words, texts)


def test_no_copy_goes_from_one_story_into_the_next():
    index = TextIndex(["one two three", "four five six"])
    assert index.longest_copy(["one", "two", "three", "four", "five", "six"]) == 0


def test_a_text_copied_whole_is_a_copy_of_its_length():
    assert TextIndex([STORY]).longest_copy(words_of(STORY)) == len(words_of(STORY))


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_saying_everything_twice_halves_distinct_words_and_lowers_no_repetition(
    texts,
):
    once = [text for text in texts if text]
    twice = [text + text for text in once]
    if once:
        assert distinct_n(twice, 1) == pytest.approx(distinct_n(once, 1) / 2)
        assert repetition(twice, 1) >= repetition(once, 1)


def test_a_text_without_repetition_has_none_and_one_word_over_and_over_has_nothing_else():
    assert repetition([list("abcdef")], 4) == 0
    assert repetition([["a"] * 104], 4) == pytest.approx(1 - 1 / 101)
    assert distinct_n([list("abcd"), list("abcd")], 4) == 0.5


def test_words_that_the_training_text_lacks_are_unknown_and_marks_do_not_count():
    assert TextIndex([STORY]).known_share([["tom", "zorp", "."]]) == 0.5


def test_metrics_of_texts_are_means_over_them():
    metrics = text_metrics(["Tom saw a cat.", "zorp"], [True, False], TextIndex([STORY]))
    assert (metrics.words, metrics.ended, metrics.longest_copy) == (3.0, 0.5, 2.5)
    assert metrics.copied_share == 0.5
    assert metrics.known_words == 0.8


def test_no_texts_and_ends_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="0 ends do not fit 0 texts"):
        text_metrics([], [], TextIndex([STORY]))
    with pytest.raises(ValueError, match="1 ends do not fit 2 texts"):
        text_metrics(["a", "b"], [True], TextIndex([STORY]))

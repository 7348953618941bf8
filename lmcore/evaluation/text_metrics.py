"""What generated text is like: how varied, how repetitive, how much of it is known or copied.

Texts are compared word by word, so tokenizers do not matter. A word is a run of letters, digits and
apostrophes in lower case, or any other single character that is not white space.
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[^\w\s]|_")
INDEXED = 4
"""Words of the sequences that a `TextIndex` looks up; shorter copies are not looked for."""


def words_of(text: str) -> list[str]:
    """Return the words of text in lower case, punctuation marks among them."""
    return WORD.findall(text.lower())


def distinct_n(texts: Sequence[Sequence[str]], n: int) -> float:
    """Return the share of different ones among all sequences of n words in texts.

    It is distinct-n of Li et al. 2016 (1510.03055), over the texts together. It falls as texts get
    more or longer, so compare like with like. Without a sequence it is 0.
    """
    sequences = [sequence for words in texts for sequence in _sequences(words, n)]
    return len(set(sequences)) / len(sequences) if sequences else 0.0


def repetition(texts: Sequence[Sequence[str]], n: int) -> float:
    """Return the share of sequences of n words that their own text already had before.

    It is seq-rep-n of Welleck et al. 2020 (1908.04319), the mean over texts that are long enough.
    """
    shares = [
        1 - len(set(sequences)) / len(sequences)
        for words in texts
        if (sequences := _sequences(words, n))
    ]
    return statistics.fmean(shares) if shares else 0.0


def _sequences(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(n)), strict=False))


class TextIndex:
    """A training text that knows its words, and how much of another text is copied from it.

    Copies are looked for as novelty is measured by McCoy et al. 2023 (2111.09509), but word by
    word, and the longest one is reported. Memory is about 24 bytes for each word.
    """

    def __init__(self, texts: Sequence[str]):
        self.words: dict[str, int] = {}
        numbers: list[int] = []
        for text in texts:
            numbers += [self.words.setdefault(w, len(self.words) + 1) for w in words_of(text)]
            numbers.append(0)  # no copy goes from one text into the next
        self._numbers = np.array(numbers, dtype=np.int64)
        keys = _keys(self._numbers)
        self._places = np.argsort(keys, kind="stable")
        self._keys = keys[self._places]

    def known_share(self, texts: Sequence[Sequence[str]]) -> float:
        """Return the share of the words of texts, marks aside, that the training text has."""
        spoken = [word for words in texts for word in words if word[0].isalnum()]
        return sum(word in self.words for word in spoken) / len(spoken) if spoken else 0.0

    def longest_copy(self, words: Sequence[str]) -> int:
        """Return how many words in a row, at most, stand so in the training text.

        Below INDEXED words it is 0.
        """
        numbers = np.array([self.words.get(word, -1) for word in words], dtype=np.int64)
        if len(numbers) < INDEXED:
            return 0
        keys = _keys(numbers)
        first, last = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
        longest = 0
        for start, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            if high > low and (numbers[start : start + INDEXED] > 0).all():
                places = self._places[low:high]
                longest = max(longest, self._extended(numbers[start:], places, longest))
        return longest

    def _extended(
        self, numbers: Int[np.ndarray, "n"], places: Int[np.ndarray, "places"], known: int
    ) -> int:
        """Return how many of numbers follow each other at one of places, where above known."""
        if len(numbers) <= known:
            return known
        length = 0
        while length < len(numbers):
            places = places[places + length < len(self._numbers)]
            places = places[self._numbers[places + length] == numbers[length]]
            if not len(places):
                break
            length += 1
        return length if length >= INDEXED else 0


def _keys(numbers: Int[np.ndarray, "n"]) -> Int[np.ndarray, "sequences"]:
    """Return a hash of each sequence of INDEXED numbers; equal sequences have equal ones."""
    n = max(0, len(numbers) - INDEXED + 1)
    keys = np.zeros(n, dtype=np.int64)
    for place in range(INDEXED):
        keys = keys * np.int64(1_000_003) + numbers[place : place + n]
    return keys


@dataclass(frozen=True, kw_only=True)
class TextMetrics:
    """What texts of one model are like together; shares are from 0 to 1."""

    n_texts: int
    words: float
    """Mean words of a text, punctuation marks included."""
    ended: float
    """Share of texts that ended by themselves."""
    distinct_1: float
    distinct_2: float
    distinct_3: float
    repetition_4: float
    known_words: float
    """Share of words, marks aside, that stand in the training text."""
    longest_copy: float
    """Mean over texts of the longest span copied from the training text, in words."""
    copied_share: float
    """Mean over texts of that span as a share of the text."""


def text_metrics(texts: Sequence[str], ended: Sequence[bool], index: TextIndex) -> TextMetrics:
    """Return the metrics of texts; ended says which of them ended by themselves.

    Raises:
        ValueError: there is no text, or ended is of another length.
    """
    if not texts or len(texts) != len(ended):
        raise ValueError(f"{len(ended)} ends do not fit {len(texts)} texts: one for each")
    split = [words_of(text) for text in texts]
    copies = [index.longest_copy(words) for words in split]
    shares = [copy / max(1, len(words)) for copy, words in zip(copies, split, strict=True)]
    return TextMetrics(
        n_texts=len(texts),
        words=statistics.fmean(map(len, split)),
        ended=sum(ended) / len(ended),
        distinct_1=distinct_n(split, 1),
        distinct_2=distinct_n(split, 2),
        distinct_3=distinct_n(split, 3),
        repetition_4=repetition(split, 4),
        known_words=index.known_share(split),
        longest_copy=statistics.fmean(copies),
        copied_share=statistics.fmean(shares),
    )

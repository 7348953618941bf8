"""Counting pre-tokens in threads, in arrays that grow with the number of distinct ones."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from lmcore.tokenizer.kernels.arrays import Bytes, Numbers, writable
from lmcore.tokenizer.kernels.compiler import compiled
from lmcore.tokenizer.kernels.scanner import character_classes, pre_token_end
from lmcore.tokenizer.kernels.spans import Spans, grown, new_spans, slot_of, write_values
from lmcore.tokenizer.pretokens import BLOCK, in_threads


@dataclass(frozen=True)
class Words:
    """Distinct words, laid end to end, and how often each occurs."""

    text: UInt8[np.ndarray, "bytes"]
    starts: Int64[np.ndarray, "starts"]
    counts: Int64[np.ndarray, "words"]

    def __len__(self) -> int:
        return len(self.counts)


class WordCounter:
    """Counts the pre-tokens of GPT-2's pattern."""

    def __init__(self) -> None:
        self._spans = new_spans(2**14, 2**18)

    def add_texts(self, texts: list[str]) -> None:
        """Count the pre-tokens of texts."""
        raw = [text.encode() for text in texts]
        data, ends = writable(b"".join(raw)), np.cumsum([len(text) for text in raw])
        classes, done = character_classes(), 0
        while done < len(data):
            done = count_some(self._spans, data, ends, done, classes)
            if done < len(data):
                self._spans = grown(self._spans, len(data) - done)

    def add(self, words: Words) -> None:
        """Add the counts of words."""
        done = 0
        while done < len(words):
            done = add_counts(self._spans, words.text, words.starts, words.counts, done)
            if done < len(words):
                self._spans = grown(self._spans, len(words.text))

    def words(self) -> Words:
        """Return the distinct pre-tokens and their counts."""
        starts = self._spans.starts[: self._spans.size[0] + 1]
        counts = np.empty(len(starts) - 1, dtype=np.int64)
        write_values(self._spans.slots, counts)
        return Words(self._spans.arena[: starts[-1]], starts, counts)


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists of consecutive texts, each of about a block's length in all."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BLOCK:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def count_words(texts: Iterable[str], workers: int) -> Words:
    """Return how often each pre-token of GPT-2's pattern occurs in texts, counted in threads."""
    counters = [WordCounter() for _ in range(workers)]
    idle = list(counters)

    def count(batch: list[str]) -> None:
        counter = idle.pop()
        try:
            counter.add_texts(batch)
        finally:
            idle.append(counter)

    for _ in in_threads(count, batches(texts), workers):
        pass
    while len(counters) > 1:
        counters[0].add(counters.pop().words())
    return counters[0].words()


def as_words(counts: Counter[bytes]) -> Words:
    """Return the same counts in arrays."""
    return Words(
        writable(b"".join(counts)),
        np.cumsum([0, *map(len, counts)], dtype=np.int64),
        np.fromiter(counts.values(), dtype=np.int64),
    )


@compiled
def count_some(spans: Spans, data: Bytes, ends: Numbers, start: int, classes: Bytes) -> int:
    """Count the pre-tokens of texts that end at ends in data, from start on.

    Return where it stopped for lack of room.
    """
    text = 0
    while start < len(data):
        while ends[text] <= start:
            text += 1
        end = pre_token_end(data, start, ends[text], classes)
        slot = slot_of(spans, data, start, end)
        if slot < 0:
            break
        spans.slots[slot].value += 1
        start = end
    return start


@compiled
def add_counts(spans: Spans, text: Bytes, starts: Numbers, counts: Numbers, first: int) -> int:
    """Add the counts of words in text from first on; return where it stopped for lack of room."""
    while first < len(counts):
        slot = slot_of(spans, text, starts[first], starts[first + 1])
        if slot < 0:
            break
        spans.slots[slot].value += counts[first]
        first += 1
    return first

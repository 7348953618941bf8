"""Counting pre-tokens in threads, in arrays that grow with the number of distinct ones."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from lmcore.tokenizer.kernels.arrays import Bytes, Numbers, writable, zeros
from lmcore.tokenizer.kernels.compiler import compiled, part
from lmcore.tokenizer.kernels.scanner import character_classes, pre_token_end
from lmcore.tokenizer.kernels.spans import Spans, enter_all, new_slots, new_spans, slot_of
from lmcore.tokenizer.pretokens import BLOCK, in_threads


@dataclass(frozen=True)
class Words:
    """Distinct words, laid end to end, and how often each occurs."""

    text: UInt8[np.ndarray, "bytes"]
    starts: Int64[np.ndarray, "starts"]
    counts: Int64[np.ndarray, "words"]

    def __len__(self) -> int:
        return len(self.counts)


FULL = 2**31 - 1
"""A count that a slot can hold no more of."""


class WordCounter:
    """Counts the pre-tokens of GPT-2's pattern.

    The table holds each count, or what came since the table last grew or the count filled it: the
    rest is in an array, of which the part that is never used takes no memory.
    """

    def __init__(self) -> None:
        self._spans = new_spans(2**15, 2**18)
        self._counted = np.zeros(2**15, dtype=np.int64)

    def add_texts(self, texts: list[str]) -> None:
        """Count the pre-tokens of texts."""
        raw = [text.encode() for text in texts]
        data, ends = writable(b"".join(raw)), np.cumsum([len(text) for text in raw])
        classes, done = character_classes(), 0
        while done < len(data):
            done = count_some(self._spans, self._counted, data, ends, done, classes)
            if done < len(data):
                self._grow(len(data) - done)

    def add(self, words: Words) -> None:
        """Add the counts of words."""
        text, starts, counts = words.text, words.starts, words.counts
        done = 0
        while done < len(counts):
            done = add_counts(self._spans, self._counted, text, starts, counts, done)
            if done < len(counts):
                self._grow(len(text))

    def words(self) -> Words:
        """Return the distinct pre-tokens and their counts."""
        empty_slots(self._spans, self._counted)
        n = int(self._spans.size[0])
        starts = self._spans.starts[: n + 1]
        return Words(self._spans.arena[: starts[-1]], starts, self._counted[:n])

    def _grow(self, n_bytes: int) -> None:
        """Make room for twice the strings, and for twice the bytes and n_bytes more.

        Memory limits the text, so the old slots are gone before there are new ones.
        """
        empty_slots(self._spans, self._counted)
        starts, arena, size = self._spans.starts, self._spans.arena, self._spans.size
        del self._spans
        n = int(size[0])
        n_slots = 2 * len(self._counted)
        self._counted = longer(self._counted, n, n_slots)
        arena = longer(arena, int(starts[n]), 2 * len(arena) + n_bytes)
        starts = longer(starts, n + 1, n_slots * 3 // 4 + 1)
        self._spans = Spans(new_slots(n_slots), starts, arena, size)
        enter_all(self._spans)


def longer(array: np.ndarray, used: int, n: int) -> np.ndarray:
    """Return the used part of array, with zeros up to n numbers."""
    out = zeros(n, array.dtype)
    out[:used] = array[:used]
    return out


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
    idle = [WordCounter() for _ in range(workers)]

    def count(batch: list[str]) -> None:
        counter = idle.pop()
        try:
            counter.add_texts(batch)
        finally:
            idle.append(counter)

    for _ in in_threads(count, batches(texts), workers):
        pass
    counter = idle.pop()
    while idle:
        counter.add(idle.pop().words())
    return counter.words()


def as_words(counts: Counter[bytes]) -> Words:
    """Return the same counts in arrays."""
    return Words(
        writable(b"".join(counts)),
        np.cumsum([0, *map(len, counts)], dtype=np.int64),
        np.fromiter(counts.values(), dtype=np.int64),
    )


@part
def add_to(spans: Spans, counted: Numbers, slot: int, count: int) -> None:
    """Add a count to the one in a slot, and empty the slot if that fills it."""
    total = spans.slots[slot].value + count
    if total >= FULL:
        counted[spans.slots[slot].number] += total
        total = 0
    spans.slots[slot].value = total


@compiled
def empty_slots(spans: Spans, counted: Numbers) -> None:
    """Move the counts of all slots to counted."""
    for slot in range(len(spans.slots)):
        if spans.slots[slot].number >= 0:
            counted[spans.slots[slot].number] += spans.slots[slot].value
            spans.slots[slot].value = 0


@compiled
def count_some(
    spans: Spans, counted: Numbers, data: Bytes, ends: Numbers, start: int, classes: Bytes
) -> int:
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
        add_to(spans, counted, slot, np.int64(1))
        start = end
    return start


@compiled
def add_counts(
    spans: Spans, counted: Numbers, text: Bytes, starts: Numbers, counts: Numbers, first: int
) -> int:
    """Add the counts of words in text from first on; return where it stopped for lack of room."""
    while first < len(counts):
        slot = slot_of(spans, text, starts[first], starts[first + 1])
        if slot < 0:
            break
        add_to(spans, counted, slot, counts[first])
        first += 1
    return first

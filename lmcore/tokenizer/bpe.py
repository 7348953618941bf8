"""Training a byte-level BPE: count pre-tokens, then merge the most frequent pair again and again.

Tokens are byte strings throughout, so a tie between pairs is broken by comparing bytes. A small
text takes the plain Python here, which is done before Numba is imported; a large one the same in
`kernels`.
"""

import heapq
import itertools
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from tqdm import tqdm

from lmcore.tokenizer.pretokens import (
    GPT2_PATTERN,
    Texts,
    in_threads,
    plain_pieces,
    pre_token_finder,
)

Pair = tuple[bytes, bytes]
ALPHABET = tuple(bytes([value]) for value in range(256))

SMALL = 2**18
"""Up to so many characters plain Python is done sooner than Numba has started."""

MOST_REWRITTEN = 2**20
"""Plain Python rewrites a word of n bytes up to n times: so many bytes of words in all, no more."""

MERGES_AT_ONCE = 64
"""How many merges pass between two looks at the progress bar and at Ctrl-C."""


def train_bpe(
    input: Texts,
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = GPT2_PATTERN,
    workers: int | None = None,
    errors: str = "strict",
    progress: bool = False,
) -> tuple[dict[int, bytes], list[Pair]]:
    """Return (vocab, merges) learned from files or texts (Sennrich 2016, 1508.07909).

    A string alone is a path, as a Path is; among several, a string is a text. They are read in
    blocks: memory follows the number of distinct pre-tokens, not the size of the text. Ids count
    special tokens first, then the 256 bytes, then merges; vocab_size counts all three. The most
    frequent pair is merged first, ties go to the lexicographically greater pair of byte strings. A
    text too small for vocab_size gives the smaller vocabulary it can fill, and a warning. The
    result does not depend on workers, the threads that count, one for each core unless given.
    Errors tells what becomes of bytes that are not UTF-8, as in `bytes.decode`.

    Raises:
        ValueError: vocab_size has no room for the specials and the bytes, there is no text, or a
            file is not UTF-8.
        OSError: a file cannot be read.
    """
    specials = list(dict.fromkeys(special_tokens))
    n_new = vocab_size - len(specials) - len(ALPHABET)
    if n_new < 0:
        raise ValueError(
            f"vocab_size {vocab_size} is too small: {len(ALPHABET)} bytes and "
            f"{len(specials)} special tokens need {len(ALPHABET) + len(specials)}"
        )
    input = [Path(input)] if isinstance(input, str | Path) else input
    size = _size(input)
    unit = {"unit": "char" if size is None else "B", "unit_scale": True}
    with tqdm(desc="read", total=size, disable=not progress, **unit) as bar:
        plain = plain_pieces(input, specials, pattern, errors, bar.update)
        few, more = _first(plain, SMALL)
        if more is None:
            words = count_pre_tokens(few, pattern)
        else:
            words = count_words(itertools.chain(few, more), pattern, workers or os.cpu_count() or 1)
    if not words:
        raise ValueError("there is no text to train a tokenizer on")
    if isinstance(words, Counter) and sum(len(word) ** 2 for word in words) > MOST_REWRITTEN:
        words = as_words(words)
    with tqdm(total=n_new, desc="merges", unit="token", disable=not progress) as bar:
        merge = merge_pairs if isinstance(words, Counter) else merge_words
        merges = merge(words, n_new, bar)
    tokens = [special.encode() for special in specials] + list(ALPHABET)
    tokens += [left + right for left, right in merges]
    if len(tokens) < vocab_size:
        warnings.warn(
            f"the text holds nothing more to merge: the vocabulary has {len(tokens)} entries, "
            f"not the {vocab_size} asked for",
            stacklevel=2,
        )
    return dict(enumerate(tokens)), merges


def _size(texts: Texts) -> int | None:
    """Return the bytes of all texts, if they are a list of files."""
    if isinstance(texts, list | tuple) and all(isinstance(text, Path) for text in texts):
        return sum(path.stat().st_size for path in texts)
    return None


def _first(texts: Iterator[str], n: int) -> tuple[list[str], Iterator[str] | None]:
    """Return the first texts, until they exceed n characters, and what is left if they do."""
    few: list[str] = []
    for text in texts:
        few.append(text)
        n -= len(text)
        if n < 0:
            return few, texts
    return few, None


# In plain Python


def count_pre_tokens(texts: Iterable[str], pattern: str = GPT2_PATTERN) -> Counter[bytes]:
    """Return how often each pre-token occurs in texts."""
    find = pre_token_finder(pattern)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(find(text))
    return Counter({pre_token.encode(): count for pre_token, count in counts.items()})


class _Candidate:
    """A pair in the queue: more frequent first, then the lexicographically greater pair."""

    __slots__ = ("count", "pair")

    def __init__(self, count: int, pair: Pair):
        self.count, self.pair = count, pair

    def __lt__(self, other: "_Candidate") -> bool:
        return (self.count, self.pair) > (other.count, other.pair)


def _merged(word: tuple[bytes, ...], pair: Pair) -> tuple[bytes, ...]:
    """Return word with each occurrence of pair joined, from left to right."""
    out, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def merge_pairs(pre_tokens: Counter[bytes], n_new: int, bar: tqdm) -> list[Pair]:
    """Return the merges, in order, that add n_new tokens to the byte alphabet."""
    in_bytes = {tuple(ALPHABET[byte] for byte in word): n for word, n in pre_tokens.items()}
    return merge_tokens(in_bytes, n_new, bar)


def merge_tokens(counted: Mapping[tuple[bytes, ...], int], n_new: int, bar: tqdm) -> list[Pair]:
    """Return the merges, in order, that add n_new tokens to those that the words are made of.

    The list is shorter where the text holds nothing more to merge. No two merges make the same
    token: where no token reaches across the ends of a stretch of a word, what happened inside it
    would have happened to it alone, so one stretch of bytes comes to the same two tokens wherever
    it comes to two.
    """
    words, counts = list(counted), list(counted.values())
    pair_counts: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        for pair in itertools.pairwise(word):
            pair_counts[pair] += counts[i]
            places[pair].add(i)
    candidates = [_Candidate(count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(candidates)
    merges: list[Pair] = []
    while candidates and len(merges) < n_new:
        best = heapq.heappop(candidates)
        pair = best.pair
        if pair_counts.get(pair) != best.count:
            continue  # an older count of this pair: the present one is queued too
        merges.append(pair)
        bar.update()
        changed: Counter[Pair] = Counter()
        for i in places.pop(pair):
            old, new = words[i], _merged(words[i], pair)
            words[i] = new
            for gone in itertools.pairwise(old):
                changed[gone] -= counts[i]
            for come in itertools.pairwise(new):
                changed[come] += counts[i]
                places[come].add(i)
        del pair_counts[pair]
        for other, change in changed.items():
            if other != pair and change:
                pair_counts[other] += change
                if pair_counts[other]:
                    heapq.heappush(candidates, _Candidate(pair_counts[other], other))
    return merges


# Compiled


@dataclass(frozen=True)
class Words:
    """Distinct words, laid end to end, and how often each occurs."""

    text: UInt8[np.ndarray, "bytes"]
    starts: Int64[np.ndarray, "starts"]
    counts: Int64[np.ndarray, "words"]

    def __len__(self) -> int:
        return len(self.counts)


class WordCounter:
    """Counts the pre-tokens of GPT-2's pattern, in arrays that grow with the distinct ones."""

    def __init__(self) -> None:
        from lmcore.tokenizer import kernels

        self._spans = kernels.new_spans(2**14, 2**18)

    def add_text(self, text: str) -> None:
        """Count the pre-tokens of text."""
        from lmcore.tokenizer import kernels

        data, classes = kernels.writable(text.encode()), kernels.character_classes()
        done = 0
        while done < len(data):
            done = kernels.count_some(self._spans, data, done, classes)
            if done < len(data):
                self._spans = kernels.grown(self._spans, len(data) - done)

    def add(self, words: Words) -> None:
        """Add the counts of words."""
        from lmcore.tokenizer import kernels

        done = 0
        while done < len(words):
            done = kernels.add_counts(self._spans, words.text, words.starts, words.counts, done)
            if done < len(words):
                self._spans = kernels.grown(self._spans, len(words.text))

    def words(self) -> Words:
        """Return the distinct pre-tokens and their counts."""
        starts = self._spans.starts[: self._spans.size[0] + 1]
        used = self._spans.slots[self._spans.slots["number"] >= 0]
        counts = np.empty(len(used), dtype=np.int64)
        counts[used["number"]] = used["value"]
        return Words(self._spans.arena[: starts[-1]], starts, counts)


def count_words(texts: Iterable[str], pattern: str, workers: int) -> Words:
    """Return how often each pre-token occurs in texts, counted in threads.

    Only GPT-2's pattern is compiled; another one goes through the regex module, in one thread.
    """
    if pattern != GPT2_PATTERN:
        return as_words(count_pre_tokens(texts, pattern))
    counters = [WordCounter() for _ in range(workers)]
    idle = list(counters)

    def count(text: str) -> None:
        counter = idle.pop()
        try:
            counter.add_text(text)
        finally:
            idle.append(counter)

    for _ in in_threads(count, texts, workers):
        pass
    while len(counters) > 1:
        counters[0].add(counters.pop().words())
    return counters[0].words()


def as_words(counts: Counter[bytes]) -> Words:
    """Return the same counts in arrays."""
    from lmcore.tokenizer import kernels

    return Words(
        kernels.writable(b"".join(counts)),
        np.cumsum([0, *map(len, counts)], dtype=np.int64),
        np.fromiter(counts.values(), dtype=np.int64),
    )


def merge_words(words: Words, n_new: int, bar: tqdm) -> list[Pair]:
    """Return what `merge_pairs` returns."""
    from lmcore.tokenizer import kernels

    state, pair_slots = kernels.new_merging(words.text, words.starts, words.counts, n_new)
    tokens, merges = list(ALPHABET), []
    some, n, n_more = np.empty((MERGES_AT_ONCE, 2), dtype=np.int64), MERGES_AT_ONCE, 0
    while n == len(some) or n_more:
        n, n_more = kernels.merge_some(state, pair_slots, len(ALPHABET) + n_new, some)
        for left, right in some[:n].tolist():
            merges.append((tokens[left], tokens[right]))
            tokens.append(tokens[left] + tokens[right])
        bar.update(n)
        if n_more:
            pair_slots = kernels.with_room(pair_slots, state, n_more)
    return merges

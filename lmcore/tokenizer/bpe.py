"""Training a byte-level BPE: count pre-tokens, then merge the most frequent pair again and again.

Tokens are byte strings throughout, so a tie between pairs is broken by comparing bytes. Small texts
are trained on in plain Python, which is done before Numba has started, and large ones by `kernels`,
with the same result.
"""

import contextlib
import heapq
import itertools
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lmcore.boundary import checked
from lmcore.files import require_file
from lmcore.tokenizer.kernels.compiler import works
from lmcore.tokenizer.pretokens import (
    GPT2_PATTERN,
    Report,
    Texts,
    no_report,
    plain_pieces,
    pre_token_finder,
)
from lmcore.tokenizer.specials import distinct

Pair = tuple[bytes, bytes]
ALPHABET = tuple(bytes([value]) for value in range(256))

SMALL = 2**18
"""Up to this many characters, plain Python is done before Numba has started."""

MOST_REWRITTEN = 2**20
"""Plain Python rewrites a word of n bytes up to n times; this limits the bytes rewritten."""


@checked
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

    A single string is a path; a string in a list is a text. Texts are read in blocks, so memory
    grows with the number of distinct pre-tokens, not with the size of the text. Special tokens have
    the first ids, then the 256 bytes, then the merged tokens; vocab_size counts all three. The most
    frequent pair is merged first, and ties go to the lexicographically greater pair of bytes. A
    text too small for vocab_size gives a smaller vocabulary and a warning. No result depends on
    workers, the threads that count: by default one for each core. Bytes that are not UTF-8 are
    treated as errors says, as in `bytes.decode`.

    Raises:
        ValueError: vocab_size has no room for the specials and the bytes, there is no text, or a
            file is not UTF-8.
        OSError: a file cannot be read.
    """
    specials = distinct(special_tokens)
    n_new = vocab_size - len(specials) - len(ALPHABET)
    if n_new < 0:
        raise ValueError(
            f"vocab_size {vocab_size} is too small: {len(ALPHABET)} bytes and "
            f"{len(specials)} special tokens need {len(ALPHABET) + len(specials)}"
        )
    input = [require_file(input)] if isinstance(input, str | Path) else input
    size = _size(input)
    unit = "char" if size is None else "B"
    with _reporter(progress, desc="read", total=size, unit=unit, unit_scale=True) as on_read:
        plain = plain_pieces(input, specials, pattern, errors, on_read)
        first, rest = _first(plain, SMALL)
        texts = itertools.chain(first, rest or ())
        is_compiled = rest is not None and works(_train_compiled)
        if is_compiled and pattern == GPT2_PATTERN:
            from lmcore.tokenizer.kernels.counting import count_words

            words = count_words(texts, workers or os.cpu_count() or 1)
        else:
            words = count_pre_tokens(texts, pattern)
    if not words:
        raise ValueError("there is no text to train a tokenizer on")
    with _reporter(progress, desc="merges", total=n_new, unit="token") as on_merged:
        if is_compiled or (_takes_long(words) and works(_train_compiled)):
            from lmcore.tokenizer.kernels.merging import merge_words

            merges = merge_words(words, n_new, on_merged)
        else:
            merges = merge_pairs(words, n_new, on_merged)
    tokens = [special.encode() for special in specials] + list(ALPHABET)
    tokens += [left + right for left, right in merges]
    if len(tokens) < vocab_size:
        warnings.warn(
            f"the text has no more pairs to merge: the vocabulary has {len(tokens)} entries, "
            f"not {vocab_size}",
            stacklevel=2,
        )
    return dict(enumerate(tokens)), merges


@contextlib.contextmanager
def _reporter(progress: bool, **facts: Any) -> Iterator[Report]:
    """Give the function that moves a bar, or one that does nothing without loading tqdm."""
    if not progress:
        yield no_report
        return
    from tqdm import tqdm

    with tqdm(**facts) as bar:
        yield bar.update


def _size(texts: Texts) -> int | None:
    """Return the bytes of all texts if they are a list of files, else None."""
    if isinstance(texts, list | tuple) and all(isinstance(text, Path) for text in texts):
        return sum(path.stat().st_size for path in texts if isinstance(path, Path))
    return None


def _first(texts: Iterator[str], n: int) -> tuple[list[str], Iterator[str] | None]:
    """Return texts up to the one that exceeds n characters, and the rest, None if none does."""
    first: list[str] = []
    for text in texts:
        first.append(text)
        n -= len(text)
        if n < 0:
            return first, texts
    return first, None


def _train_compiled() -> None:
    """Train on a word with compiled code, to see whether that works."""
    from lmcore.tokenizer.kernels.counting import count_words
    from lmcore.tokenizer.kernels.merging import merge_words

    merge_words(count_words(["aa"], workers=1), 1)


def _takes_long(words: Collection[bytes]) -> bool:
    """Return whether plain Python would take long to merge words, because some are long."""
    return sum(len(word) ** 2 for word in words) > MOST_REWRITTEN


def count_pre_tokens(texts: Iterable[str], pattern: str = GPT2_PATTERN) -> Counter[bytes]:
    """Return how often each pre-token occurs in texts."""
    find = pre_token_finder(pattern)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(find(text))
    return Counter({pre_token.encode(): count for pre_token, count in counts.items()})


class _Candidate:
    """A pair in the queue. The most frequent comes first, then the lexicographically greatest."""

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


def merge_pairs(
    pre_tokens: Counter[bytes], n_new: int, on_merged: Report = no_report
) -> list[Pair]:
    """Return the merges, in order, that add n_new tokens to the byte alphabet."""
    in_bytes = {tuple(ALPHABET[byte] for byte in word): n for word, n in pre_tokens.items()}
    return merge_tokens(in_bytes, n_new, on_merged)


def merge_tokens(
    counted: Mapping[tuple[bytes, ...], int], n_new: int, on_merged: Report = no_report
) -> list[Pair]:
    """Return the merges, in order, that add n_new tokens to those that the words consist of.

    The list is shorter if no pair is left. No two merges make the same token: as long as no token
    crosses the ends of a stretch of bytes, merging treats it as it would treat the stretch alone,
    so wherever it comes down to two tokens they are the same two.
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
            continue  # outdated: the pair is also queued with its present count
        merges.append(pair)
        on_merged(1)
        changed: Counter[Pair] = Counter()
        for i in places.pop(pair):
            old, new = words[i], _merged(words[i], pair)
            words[i] = new
            for neighbours in itertools.pairwise(old):
                changed[neighbours] -= counts[i]
            for neighbours in itertools.pairwise(new):
                changed[neighbours] += counts[i]
                places[neighbours].add(i)
        del pair_counts[pair]
        for other, change in changed.items():
            if other != pair and change:
                pair_counts[other] += change
                if pair_counts[other]:
                    heapq.heappush(candidates, _Candidate(pair_counts[other], other))
    return merges

"""Training: the most frequent pair is merged again and again, in the distinct words of a text.

Where a plain 0 would be passed to a loop it says np.int64(0): Numba would compile that loop a
second time for the constant.
"""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Int64, UInt8

from lmcore.tokenizer.bpe import ALPHABET, Pair
from lmcore.tokenizer.kernels.arrays import Bytes, Numbers
from lmcore.tokenizer.kernels.compiler import compiled, part
from lmcore.tokenizer.kernels.counting import Words, as_words
from lmcore.tokenizer.kernels.spans import hash_of_key
from lmcore.tokenizer.pretokens import Report, no_report

LOW_HALF = 2**32 - 1

WIDE = 2**31
"""From this many places on, their numbers take 64 bits."""

MERGES_AT_ONCE = 64
"""How many merges pass between two updates of the progress bar and two looks at Ctrl-C."""

TOKENS, PAIRS, LISTED, QUEUED = range(4)


class Merging(NamedTuple):
    """The distinct words of a text, laid end to end, while pairs of their tokens are merged."""

    text: UInt8[np.ndarray, "places"]
    """The 256 bytes, then the words, each after one unused place."""
    places: np.ndarray
    """The token that begins at a place, or -1; where the token before begins; the word's count."""
    tokens: np.ndarray
    """Where in text the bytes of a token first occur, and how many they are."""
    pairs: np.ndarray
    """The left token, and the right one in the low 32 bits; the count; the largest count that the
    queue has for the pair; the latest entry in the list of its places."""
    listed: np.ndarray
    """An entry of a pair's list: a place where it came up, the entry before, and the pair."""
    queue: np.ndarray
    """A heap of pairs, with their counts when they were queued."""
    size: Int64[np.ndarray, "4"]


def new_merging(
    text: UInt8[np.ndarray, "bytes"],
    starts: Int64[np.ndarray, "starts"],
    counts: Int64[np.ndarray, "words"],
    n_new: int,
) -> tuple[Merging, Any]:
    """Return the state before the first merge, and the hash table of pairs.

    Each join removes one token and lists at most two places, so the bytes of the distinct words
    bound all sizes. The parts of the arrays that are never used take no memory.
    """
    listed = 3 * len(text) + 1
    index = "i4" if listed < WIDE else "i8"

    def room(n: int, **fields: str) -> np.ndarray:
        return np.empty(n, dtype=np.dtype(list(fields.items()), align=True))

    merging = Merging(
        text=np.empty(256 + len(text) + len(counts) + 1, dtype=np.uint8),
        places=room(256 + len(text) + len(counts) + 1, token="i4", before=index, count="i8"),
        tokens=room(256 + min(n_new, len(text)), first=index, length=index),
        pairs=room(listed, key="i8", count="i8", most="i8", latest=index),
        listed=room(listed, place=index, earlier=index, pair=index),
        queue=room(listed, count="i8", pair=index),
        size=np.zeros(4, dtype=np.int64),
    )
    n_pairs = min(2**16, len(text))  # there are no more pairs of bytes
    pair_slots = np.full(2 ** (2 * n_pairs).bit_length(), -1, dtype=index)
    lay_out(merging, pair_slots, text, starts, counts)
    return merging, pair_slots


@compiled
def lay_out(m: Merging, pair_slots: Numbers, text: Bytes, starts: Numbers, counts: Numbers) -> None:
    """Write the 256 bytes and the words, count the pairs, and queue them."""
    for byte in range(256):
        m.text[byte] = byte
        new_token(m, byte, np.int64(1))
    m.places[256].token = -1
    end = 257
    for word in range(len(counts)):
        for i in range(starts[word], starts[word + 1]):
            m.text[end], m.places[end].token = text[i], text[i]
            m.places[end].before, m.places[end].count = end - 1, counts[word]
            end += 1
        m.places[end].token = -1
        end += 1
    for place in range(257, end - 1):
        if token_at(m, place) >= 0 and token_at(m, place + 1) >= 0:
            gain(m, pair_slots, place, token_at(m, place), token_at(m, place + 1))
    queue_risen(m, np.int64(0))


@part
def token_at(m: Merging, place: int) -> int:
    """Return the token that begins at place, or -1."""
    return np.int64(m.places[place].token)


@part
def before_of(m: Merging, place: int) -> int:
    """Return where the token before the one at place begins."""
    return np.int64(m.places[place].before)


@part
def length_of(m: Merging, token: int) -> int:
    """Return how many bytes a token has."""
    return np.int64(m.tokens[token].length)


@part
def new_token(m: Merging, first: int, length: int) -> int:
    """Add a token with length bytes of text from first on; return its number."""
    token = m.size[TOKENS]
    m.tokens[token].first, m.tokens[token].length = first, length
    m.size[TOKENS] += 1
    return token


@part
def pair_of(m: Merging, pair_slots: Numbers, left: int, right: int) -> int:
    """Return the number of a pair of tokens, added if it is new."""
    key, mask = left << 32 | right, len(pair_slots) - 1
    slot = hash_of_key(key) & mask
    while pair_slots[slot] >= 0:
        pair = np.int64(pair_slots[slot])
        if m.pairs[pair].key == key:
            return pair
        slot = (slot + 1) & mask
    pair = m.size[PAIRS]
    pair_slots[slot] = pair
    m.pairs[pair].key, m.pairs[pair].latest = key, -1
    m.pairs[pair].count, m.pairs[pair].most = 0, 0
    m.size[PAIRS] += 1
    return pair


def with_room(
    pair_slots: Int[np.ndarray, "slots"], m: Merging, n_more: int
) -> Int[np.ndarray, "more_slots"]:
    """Return a larger table of the same pairs, half empty even after n_more are added."""
    n_slots = 2 ** (2 * (int(m.size[PAIRS]) + n_more)).bit_length()
    out = np.full(n_slots, -1, dtype=pair_slots.dtype)
    fill_pair_slots(out, m)
    return out


@compiled
def fill_pair_slots(pair_slots: Numbers, m: Merging) -> None:
    """Enter all pairs into an empty table."""
    mask = len(pair_slots) - 1
    for pair in range(m.size[PAIRS]):
        slot = hash_of_key(m.pairs[pair].key) & mask
        while pair_slots[slot] >= 0:
            slot = (slot + 1) & mask
        pair_slots[slot] = pair


@part
def gain(m: Merging, pair_slots: Numbers, place: int, left: int, right: int) -> None:
    """Count and list the pair of left and right that is now at place."""
    pair, entry = pair_of(m, pair_slots, left, right), m.size[LISTED]
    m.pairs[pair].count += m.places[place].count
    m.listed[entry].place, m.listed[entry].pair = place, pair
    m.listed[entry].earlier = m.pairs[pair].latest
    m.pairs[pair].latest = entry
    m.size[LISTED] += 1


@part
def queue_risen(m: Merging, first_listed: int) -> None:
    """Queue the pairs whose count has risen since entry first_listed, with their present count."""
    for entry in range(first_listed, m.size[LISTED]):
        pair = np.int64(m.listed[entry].pair)
        if m.pairs[pair].count > m.pairs[pair].most:
            push(m, pair)


@part
def spells_more(m: Merging, a: int, b: int) -> bool:
    """Return whether the bytes of token a come after those of token b."""
    first, other = m.tokens[a].first, m.tokens[b].first
    for i in range(min(length_of(m, a), length_of(m, b))):
        if m.text[first + i] != m.text[other + i]:
            return m.text[first + i] > m.text[other + i]
    return length_of(m, a) > length_of(m, b)


@part
def precedes(m: Merging, count: int, pair: int, i: int) -> bool:
    """Return whether a pair with count is merged before the one at place i of the queue.

    The more frequent pair is; of two with the same count, the lexicographically greater one.
    """
    if count != m.queue[i].count:
        return count > m.queue[i].count
    key, other = m.pairs[pair].key, m.pairs[m.queue[i].pair].key
    if key >> 32 != other >> 32:
        return spells_more(m, key >> 32, other >> 32)
    return spells_more(m, key & LOW_HALF, other & LOW_HALF)


@part
def push(m: Merging, pair: int) -> None:
    """Queue a pair with its present count."""
    count, i = m.pairs[pair].count, m.size[QUEUED]
    m.pairs[pair].most = count
    m.size[QUEUED] += 1
    while i > 0 and precedes(m, count, pair, (i - 1) // 2):
        m.queue[i] = m.queue[(i - 1) // 2]
        i = (i - 1) // 2
    m.queue[i].count, m.queue[i].pair = count, pair


@part
def drop_first(m: Merging) -> None:
    """Remove the first pair from the queue."""
    m.size[QUEUED] -= 1
    n, i, child = m.size[QUEUED], np.int64(0), np.int64(1)
    count, pair = m.queue[n].count, np.int64(m.queue[n].pair)
    while child < n:
        if child + 1 < n and precedes(
            m, m.queue[child + 1].count, np.int64(m.queue[child + 1].pair), child
        ):
            child += 1
        if precedes(m, count, pair, child):
            break
        m.queue[i] = m.queue[child]
        i, child = child, 2 * child + 1
    m.queue[i].count, m.queue[i].pair = count, pair


@part
def most_frequent(m: Merging) -> int:
    """Return the pair to merge next, or -1 if none is left.

    When a count falls, the queue keeps the larger one until it comes first and is corrected. The
    largest count that the queue has for a pair is never too small.
    """
    while m.size[QUEUED]:
        count, pair = m.queue[0].count, np.int64(m.queue[0].pair)
        drop_first(m)
        if count == m.pairs[pair].count:
            return pair
        if count == m.pairs[pair].most:
            m.pairs[pair].most = 0
            if m.pairs[pair].count:
                push(m, pair)
    return -1


@part
def is_pair_at(m: Merging, place: int, left: int, right: int) -> bool:
    """Return whether the tokens left and right begin at place."""
    return token_at(m, place) == left and token_at(m, place + length_of(m, left)) == right


@part
def join(m: Merging, pair_slots: Numbers, place: int, left: int, right: int, new: int) -> None:
    """Join left and right at place to the token new, and update the pairs on both sides."""
    middle = place + length_of(m, left)
    before, after = before_of(m, place), middle + length_of(m, right)
    m.places[place].token, m.places[middle].token = new, -1
    if token_at(m, before) >= 0:
        lost = pair_of(m, pair_slots, token_at(m, before), left)
        m.pairs[lost].count -= m.places[place].count
        gain(m, pair_slots, before, token_at(m, before), new)
    if token_at(m, after) >= 0:
        lost = pair_of(m, pair_slots, right, token_at(m, after))
        m.pairs[lost].count -= m.places[place].count
        gain(m, pair_slots, place, new, token_at(m, after))
        m.places[after].before = place


@part
def join_all(m: Merging, pair_slots: Numbers, pair: int, left: int, right: int, new: int) -> None:
    """Join left and right at each listed place where they still are."""
    entry = np.int64(m.pairs[pair].latest)
    while entry >= 0:
        place = np.int64(m.listed[entry].place)
        if left == right and token_at(m, place) == left:
            while token_at(m, before_of(m, place)) == left:  # a run is joined from its left end
                place = before_of(m, place)
        while is_pair_at(m, place, left, right):
            join(m, pair_slots, place, left, right, new)
            place += length_of(m, new)
        entry = np.int64(m.listed[entry].earlier)


@part
def survey(m: Merging, pair: int, left: int, right: int) -> tuple[int, int]:
    """Return how many places are listed for a pair, and one where it still is."""
    n_listed, place, entry = 0, -1, np.int64(m.pairs[pair].latest)
    while entry >= 0:
        n_listed += 1
        if place < 0 and is_pair_at(m, np.int64(m.listed[entry].place), left, right):
            place = np.int64(m.listed[entry].place)
        entry = np.int64(m.listed[entry].earlier)
    return n_listed, place


@compiled
def merge_some(
    m: Merging, pair_slots: Numbers, n_tokens: int, merges: Int64[np.ndarray, "most 2"]
) -> tuple[int, int]:
    """Write the next merges until there are n_tokens; return how many, and how much room it lacks.

    It stops early if pair_slots has no room for the pairs that the next merge may add: the second
    number says how many, and is 0 otherwise.
    """
    for n in range(len(merges)):
        pair = most_frequent(m) if m.size[TOKENS] < n_tokens else -1
        if pair < 0:
            return n, 0
        left, right = m.pairs[pair].key >> 32, m.pairs[pair].key & LOW_HALF
        n_listed, place = survey(m, pair, left, right)
        if 2 * (m.size[PAIRS] + 2 * n_listed) > len(pair_slots):
            push(m, pair)
            return n, 2 * n_listed
        merges[n, 0], merges[n, 1] = left, right
        new = new_token(m, place, length_of(m, left) + length_of(m, right))
        newest = m.size[LISTED]
        join_all(m, pair_slots, pair, left, right, new)
        m.pairs[pair].count, m.pairs[pair].most, m.pairs[pair].latest = 0, 0, -1
        queue_risen(m, newest)
    return len(merges), 0


def merge_words(
    counts: Words | Counter[bytes], n_new: int, on_merged: Report = no_report
) -> list[Pair]:
    """Return the merges, in order, that add n_new tokens to the byte alphabet.

    on_merged gets the number of merges made since it was called last.
    """
    words = as_words(counts) if isinstance(counts, Counter) else counts
    state, pair_slots = new_merging(words.text, words.starts, words.counts, n_new)
    tokens, merges = list(ALPHABET), []
    some, n, n_more = np.empty((MERGES_AT_ONCE, 2), dtype=np.int64), MERGES_AT_ONCE, 0
    while n == len(some) or n_more:
        n, n_more = merge_some(state, pair_slots, len(ALPHABET) + n_new, some)
        for left, right in some[:n].tolist():
            merges.append((tokens[left], tokens[right]))
            tokens.append(tokens[left] + tokens[right])
        on_merged(n)
        if n_more:
            pair_slots = with_room(pair_slots, state, n_more)
    return merges

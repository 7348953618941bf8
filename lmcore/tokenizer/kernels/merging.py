"""Training: the most frequent pair is merged again and again, in the distinct words of a text.

Where a plain 0 would be passed to a loop it says np.int64(0): Numba would compile that loop a
second time for the constant.
"""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Int64, UInt8

from lmcore.tokenizer.bpe import ALPHABET, Pair
from lmcore.tokenizer.kernels.arrays import Numbers
from lmcore.tokenizer.kernels.compiler import compiled, part
from lmcore.tokenizer.kernels.counting import Words, as_words
from lmcore.tokenizer.kernels.spans import hash_of_key
from lmcore.tokenizer.pretokens import Report, no_report

LOW_HALF = 2**32 - 1

WIDE = 2**31
"""From this many entries of lists, or bytes of text, on, their numbers take 64 bits."""

MERGES_AT_ONCE = 64
"""How many merges pass between two updates of the progress bar and two looks at Ctrl-C."""

TOKENS, PAIRS, LISTED, QUEUED, FREE, RISEN, MERGES = range(7)
"""What size counts: tokens, pairs, entries of lists, the queue, pairs in risen, and merges. FREE is
the first of the entries that no list has any more, or -1.
"""

FIRST = 1
"""The place of the first word, after an unused one."""

SPACING = 16
"""Places from one entry in word_at to the next."""


class Merging(NamedTuple):
    """The distinct words of a text, laid end to end, while pairs of their tokens are merged.

    Memory is what limits the text, so a place has only the number that it cannot do without.
    """

    text: UInt8[np.ndarray, "bytes"]
    """The words."""
    starts: Int64[np.ndarray, "starts"]
    """Where words start and end in text."""
    places: Int[np.ndarray, "places"]
    """Words as in text, with an unused place between them: at a token's first byte its number, at
    the last byte of a longer one its length below zero, and -1 at unused places and inside tokens.
    """
    counts: Int64[np.ndarray, "words"]
    """How often each word occurs."""
    word_at: Int[np.ndarray, "spaced"]
    """The word at every SPACING-th place, or the one before an unused place."""
    tokens: np.ndarray
    """Where in text the bytes of a merged token occur, and how many they are."""
    pairs: np.ndarray
    """The left token, and the right one in the low 32 bits; the count; the largest count that the
    queue has for the pair; the latest entry in the list of its places; the latest merge after which
    it is in risen."""
    listed: np.ndarray
    """An entry of a pair's list: a place where it came up, and the entry before."""
    risen: Int[np.ndarray, "most_risen"]
    """The pairs that came up in the latest merge, each once."""
    queue: np.ndarray
    """A heap of pairs, with their counts when they were queued."""
    size: Int64[np.ndarray, "7"]


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
    n_places = FIRST + len(text) + len(counts)
    listed = 3 * len(text) + 1
    n_bytes = int(np.diff(starts) @ counts)  # no pair occurs more often
    index = "i4" if max(listed, n_bytes) < WIDE else "i8"

    def room(n: int, **fields: str) -> np.ndarray:
        return np.empty(n, dtype=np.dtype(list(fields.items()), align=True))

    n_tokens = 256 + min(n_new, len(text))
    n_pairs = min(2**16, len(text))  # there are no more pairs of bytes
    merging = Merging(
        text=text,
        starts=starts,
        places=np.empty(n_places + 1, dtype=index),
        counts=counts,
        word_at=np.empty(n_places // SPACING + 1, dtype=index),
        tokens=room(n_tokens, first=index, length=index),
        pairs=room(listed, key="i8", count=index, most=index, latest=index, merge="i4"),
        listed=room(listed, place=index, earlier=index),
        risen=np.empty(max(n_pairs, 2 * n_tokens), dtype=index),
        queue=room(listed, count=index, pair=index),
        size=np.zeros(7, dtype=np.int64),
    )
    merging.size[FREE] = -1
    pair_slots = np.full(2 ** (2 * n_pairs).bit_length(), -1, dtype=index)
    lay_out(merging, pair_slots)
    return merging, pair_slots


@compiled
def lay_out(m: Merging, pair_slots: Numbers) -> None:
    """Write the 256 bytes and the words, count the pairs, and queue them."""
    for byte in range(256):
        new_token(m, byte, np.int64(1))
    m.places[0], m.word_at[0] = -1, 0
    for word in range(len(m.counts)):
        first, end = start_of(m, word), start_of(m, word + 1)
        for place in range(first, end - 1):
            m.places[place] = m.text[m.starts[word] + place - first]
        m.places[end - 1] = -1
        for block in range((first + SPACING - 1) // SPACING, (end - 1) // SPACING + 1):
            m.word_at[block] = word
    for word in range(len(m.counts)):
        for place in range(start_of(m, word), start_of(m, word + 1) - 2):
            left, right = token_at(m, place), token_at(m, place + 1)
            gain(m, pair_slots, place, left, right, m.counts[word])
    queue_risen(m)


@part
def start_of(m: Merging, word: int) -> int:
    """Return the place where a word starts."""
    return FIRST + m.starts[word] + word


@part
def word_of(m: Merging, place: int) -> int:
    """Return the word at place."""
    word = np.int64(m.word_at[place >> 4])
    while start_of(m, word + 1) <= place:
        word += 1
    return word


@part
def count_at(m: Merging, place: int) -> int:
    """Return how often the word at place occurs."""
    return m.counts[word_of(m, place)]


@part
def token_at(m: Merging, place: int) -> int:
    """Return the token that begins at place, or a number below zero."""
    return np.int64(m.places[place])


@part
def before_of(m: Merging, place: int) -> int:
    """Return where the token before the one at place begins, or the unused place before it."""
    last = np.int64(m.places[place - 1])
    return place + last if last < -1 else place - 1


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
    m.pairs[pair].key, m.pairs[pair].latest, m.pairs[pair].merge = key, -1, -1
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
def gain(m: Merging, pair_slots: Numbers, place: int, left: int, right: int, count: int) -> None:
    """Count and list the pair of left and right that is now at place, in a word with this count."""
    pair, entry = pair_of(m, pair_slots, left, right), m.size[FREE]
    if entry < 0:
        entry = m.size[LISTED]
        m.size[LISTED] += 1
    else:
        m.size[FREE] = m.listed[entry].earlier
    m.pairs[pair].count += count
    m.listed[entry].place, m.listed[entry].earlier = place, m.pairs[pair].latest
    m.pairs[pair].latest = entry
    if m.pairs[pair].merge != m.size[MERGES]:
        m.pairs[pair].merge = m.size[MERGES]
        m.risen[m.size[RISEN]] = pair
        m.size[RISEN] += 1


@part
def queue_risen(m: Merging) -> None:
    """Queue the pairs whose count has risen in the latest merge, with their present count."""
    for i in range(m.size[RISEN]):
        pair = np.int64(m.risen[i])
        if m.pairs[pair].count > m.pairs[pair].most:
            push(m, pair)
    m.size[RISEN] = 0
    m.size[MERGES] += 1


@part
def spells_more(m: Merging, a: int, b: int) -> bool:
    """Return whether the bytes of token a come after those of token b."""
    for i in range(min(length_of(m, a), length_of(m, b))):
        one, other = byte_of(m, a, i), byte_of(m, b, i)
        if one != other:
            return one > other
    return length_of(m, a) > length_of(m, b)


@part
def byte_of(m: Merging, token: int, i: int) -> int:
    """Return byte number i of a token."""
    return token if token < 256 else np.int64(m.text[m.tokens[token].first + i])


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
    count, i = np.int64(m.pairs[pair].count), m.size[QUEUED]
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
    count, pair = np.int64(m.queue[n].count), np.int64(m.queue[n].pair)
    while child < n:
        if child + 1 < n and precedes(
            m,
            np.int64(m.queue[child + 1].count),
            np.int64(m.queue[child + 1].pair),
            child,
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
        count, pair = np.int64(m.queue[0].count), np.int64(m.queue[0].pair)
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
    middle, count = place + length_of(m, left), count_at(m, place)
    before, after = before_of(m, place), middle + length_of(m, right)
    m.places[place], m.places[middle] = new, -1
    m.places[after - 1] = place - after
    if token_at(m, before) >= 0:
        lost = pair_of(m, pair_slots, token_at(m, before), left)
        m.pairs[lost].count -= count
        gain(m, pair_slots, before, token_at(m, before), new, count)
    if token_at(m, after) >= 0:
        lost = pair_of(m, pair_slots, right, token_at(m, after))
        m.pairs[lost].count -= count
        gain(m, pair_slots, place, new, token_at(m, after), count)


@part
def join_all(m: Merging, pair_slots: Numbers, pair: int, left: int, right: int, new: int) -> None:
    """Join left and right wherever a pair is listed, and free the entries of its list."""
    entry = last = np.int64(m.pairs[pair].latest)
    while entry >= 0:
        place = np.int64(m.listed[entry].place)
        if left == right and token_at(m, place) == left:
            while token_at(m, before_of(m, place)) == left:
                place = before_of(m, place)
        while is_pair_at(m, place, left, right):
            join(m, pair_slots, place, left, right, new)
            place += length_of(m, new)
        last, entry = entry, np.int64(m.listed[entry].earlier)
    if last >= 0:
        m.listed[last].earlier = m.size[FREE]
        m.size[FREE] = m.pairs[pair].latest
    m.pairs[pair].latest = -1


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
        first = place - FIRST - word_of(m, place)
        new = new_token(m, first, length_of(m, left) + length_of(m, right))
        join_all(m, pair_slots, pair, left, right, new)
        m.pairs[pair].count, m.pairs[pair].most = 0, 0
        queue_risen(m)
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

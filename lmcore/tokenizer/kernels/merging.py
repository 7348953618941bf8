"""Training: the most frequent pair is merged again and again, in the distinct words of a text.

Where a plain 0 would be passed to a loop it says np.int64(0): Numba would compile that loop a
second time for the constant.
"""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Int64, UInt8

from lmcore.tokenizer.bpe import ALPHABET, Pair
from lmcore.tokenizer.kernels.arrays import Numbers, Rows
from lmcore.tokenizer.kernels.compiler import compiled, part
from lmcore.tokenizer.kernels.counting import Words, as_words
from lmcore.tokenizer.kernels.spans import hash_of_key
from lmcore.tokenizer.pretokens import Report, no_report

LOW_HALF = 2**32 - 1

WIDE = 2**31
"""From this many entries of lists, or bytes of text, on, their numbers take 64 bits."""

MERGES_AT_ONCE = 64
"""How many merges pass between two updates of the progress bar and two looks at Ctrl-C."""

TOKENS, PAIRS, LISTED, NEW, QUEUED = range(5)
"""What size counts: tokens, pairs, places listed for pairs, entries in new, and the queue."""

FIRST = 1
"""The place of the first word, after an unused one."""

SPACING = 16
"""Places from one entry in word_at to the next."""


class Merging(NamedTuple):
    """The distinct words of a text, laid end to end, while pairs of their tokens are merged.

    Memory is what limits the text, so a place has only the number that it cannot do without. All
    tokens of a kind are made in one merge, so a pair never gains places after the merge that made
    its later token: its places are listed once, one after the other, and its count can only fall.
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
    tokens: Rows
    """Where in text the bytes of a merged token occur, and how many they are."""
    pairs: Rows
    """The left token, and the right one in the low 32 bits; the count; where in listed its places
    begin, or its latest entry in new."""
    listed: Int[np.ndarray, "most_listed"]
    """The places of pairs, in the order of pairs; the complement of the last one of each. A pair
    may be gone from a place that is listed for it."""
    new: Rows
    """The places of the pairs of a merge under way, each with the entry before of the same pair."""
    queue: Rows
    """A heap of pairs, with counts that may be too large."""
    size: Int64[np.ndarray, "5"]


def new_merging(
    text: UInt8[np.ndarray, "bytes"],
    starts: Int64[np.ndarray, "starts"],
    counts: Int64[np.ndarray, "words"],
    n_new: int,
) -> tuple[Merging, Any]:
    """Return the state before the first merge, and the hash table of pairs.

    A join removes one token and lists at most two places, so the bytes of the distinct words bound
    all sizes. The parts of the arrays that are never used take no memory.
    """
    n_places = FIRST + len(text) + len(counts)
    most = 3 * len(text) + 1
    n_bytes = int(np.diff(starts) @ counts)  # no pair occurs more often
    index = "i4" if max(most, n_bytes) < WIDE else "i8"

    def room(n: int, **fields: str) -> Rows:
        return np.empty(n, dtype=np.dtype(list(fields.items()), align=True))

    merging = Merging(
        text=text,
        starts=starts,
        places=np.empty(n_places + 1, dtype=index),
        counts=counts,
        word_at=np.empty(n_places // SPACING + 1, dtype=index),
        tokens=room(256 + min(n_new, len(text)), first=index, length=index),
        pairs=room(most, key="i8", count=index, first=index),
        listed=np.empty(most, dtype=index),
        new=room(most, place=index, earlier=index),
        queue=room(most, count=index, pair=index),
        size=np.zeros(5, dtype=np.int64),
    )
    n_pairs = min(2**16, len(text))  # there are no more pairs of bytes
    pair_slots = np.full(2 ** (2 * n_pairs).bit_length(), -1, dtype=index)
    lay_out(merging, pair_slots)
    return merging, pair_slots


@compiled
def lay_out(m: Merging, pair_slots: Numbers) -> None:
    """Write the 256 bytes and the words, and count, list and queue the pairs."""
    for byte in range(256):
        new_token(m, byte, np.int64(1))
    m.places[0], m.word_at[0], m.size[NEW] = -1, 0, 1
    for word in range(len(m.counts)):
        first, end = start_of(m, word), start_of(m, word + 1)
        for place in range(first, end - 1):
            m.places[place] = m.text[m.starts[word] + place - first]
        m.places[end - 1] = -1
        for block in range((first + SPACING - 1) // SPACING, (end - 1) // SPACING + 1):
            m.word_at[block] = word
        for place in range(first, end - 2):
            pair = pair_of(m, pair_slots, token_at(m, place), token_at(m, place + 1))
            m.pairs[pair].count += m.counts[word]
            m.pairs[pair].first += 1  # how many places it has
    end = np.int64(0)
    for pair in range(m.size[PAIRS]):
        end += m.pairs[pair].first
        m.pairs[pair].first = end
    m.size[LISTED] = end
    for place in range(len(m.places) - 2, 0, -1):
        left, right = token_at(m, place), token_at(m, place + 1)
        if left >= 0 and right >= 0:
            pair = pair_of(m, pair_slots, left, right)
            m.pairs[pair].first -= 1
            m.listed[m.pairs[pair].first] = place
    for pair in range(m.size[PAIRS]):
        last = end if pair + 1 == m.size[PAIRS] else np.int64(m.pairs[pair + 1].first)
        m.listed[last - 1] = ~m.listed[last - 1]
        push(m, pair)


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
    """Return the number of a pair of tokens, added without a place if it is new."""
    key, mask = left << 32 | right, len(pair_slots) - 1
    slot = hash_of_key(key) & mask
    while pair_slots[slot] >= 0:
        pair = np.int64(pair_slots[slot])
        if m.pairs[pair].key == key:
            return pair
        slot = (slot + 1) & mask
    pair = m.size[PAIRS]
    pair_slots[slot] = pair
    m.pairs[pair].key, m.pairs[pair].count, m.pairs[pair].first = key, 0, 0
    m.size[PAIRS] += 1
    return pair


def with_room(
    pair_slots: Int[np.ndarray, "slots"], m: Merging, n_more: int
) -> Int[np.ndarray, "more_slots"]:
    """Return a larger table of the same pairs, a third empty even after n_more are added."""
    n_slots = 2 ** (3 * (int(m.size[PAIRS]) + n_more) // 2).bit_length()
    out = np.full(n_slots, -1, dtype=pair_slots.dtype)
    fill_pair_slots(out, m)
    return out


@compiled
def fill_pair_slots(pair_slots: Numbers, m: Merging) -> None:
    """Enter all pairs into an empty table."""
    enter_pairs(m, pair_slots)


@part
def enter_pairs(m: Merging, pair_slots: Numbers) -> None:
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
    pair, entry = pair_of(m, pair_slots, left, right), m.size[NEW]
    m.pairs[pair].count += count
    m.new[entry].place, m.new[entry].earlier = place, m.pairs[pair].first
    m.pairs[pair].first = entry
    m.size[NEW] += 1


@part
def list_new(m: Merging, first: int) -> None:
    """List the places of the pairs from number first on, which the latest merge made."""
    for pair in range(first, m.size[PAIRS]):
        entry, m.pairs[pair].first = np.int64(m.pairs[pair].first), m.size[LISTED]
        while entry > 0:
            m.listed[m.size[LISTED]] = m.new[entry].place
            m.size[LISTED] += 1
            entry = np.int64(m.new[entry].earlier)
        m.listed[m.size[LISTED] - 1] = ~m.listed[m.size[LISTED] - 1]
        if m.pairs[pair].count:
            push(m, pair)
    m.size[NEW] = 1


@part
def drop_gone(m: Merging, pair_slots: Numbers) -> None:
    """Drop the pairs that are nowhere any more, and the places from which others are gone."""
    n_pairs = n_listed = np.int64(0)
    for pair in range(m.size[PAIRS]):
        if not m.pairs[pair].count:
            continue
        left, right = m.pairs[pair].key >> 32, m.pairs[pair].key & LOW_HALF
        entry, first, is_last = np.int64(m.pairs[pair].first), n_listed, False
        while not is_last:
            place = np.int64(m.listed[entry])
            is_last, entry = place < 0, entry + 1
            place = ~place if is_last else place
            if is_pair_at(m, place, left, right):
                m.listed[n_listed] = place
                n_listed += 1
        m.listed[n_listed - 1] = ~m.listed[n_listed - 1]
        m.pairs[n_pairs] = m.pairs[pair]
        m.pairs[n_pairs].first = first
        n_pairs += 1
    m.size[PAIRS], m.size[LISTED], m.size[QUEUED] = n_pairs, n_listed, 0
    for slot in range(len(pair_slots)):
        pair_slots[slot] = -1
    enter_pairs(m, pair_slots)
    for pair in range(n_pairs):
        push(m, pair)


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
    m.size[QUEUED] += 1
    while i > 0 and precedes(m, count, pair, (i - 1) // 2):
        m.queue[i] = m.queue[(i - 1) // 2]
        i = (i - 1) // 2
    m.queue[i].count, m.queue[i].pair = count, pair


@part
def replace_first(m: Merging, count: int, pair: int) -> None:
    """Put a pair with this count in the place of the first one of the queue."""
    n, i, child = m.size[QUEUED], np.int64(0), np.int64(1)
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
def drop_first(m: Merging) -> None:
    """Remove the first pair from the queue."""
    m.size[QUEUED] -= 1
    n = m.size[QUEUED]
    replace_first(m, np.int64(m.queue[n].count), np.int64(m.queue[n].pair))


@part
def most_frequent(m: Merging) -> int:
    """Return the pair to merge next, first in the queue, or -1 if none is left.

    When a count falls, the queue keeps the larger one until it comes first and is corrected.
    """
    while m.size[QUEUED]:
        pair = np.int64(m.queue[0].pair)
        count = np.int64(m.pairs[pair].count)
        if count == m.queue[0].count:
            return pair
        if count:
            replace_first(m, count, pair)
        else:
            drop_first(m)
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
    """Join left and right at all places of their pair."""
    entry, is_last = np.int64(m.pairs[pair].first), False
    while not is_last:
        place = np.int64(m.listed[entry])
        is_last, entry = place < 0, entry + 1
        place = ~place if is_last else place
        if left == right and token_at(m, place) == left:
            while token_at(m, before_of(m, place)) == left:
                place = before_of(m, place)
        while is_pair_at(m, place, left, right):
            join(m, pair_slots, place, left, right, new)
            place += length_of(m, new)


@part
def survey(m: Merging, pair: int, left: int, right: int) -> tuple[int, int]:
    """Return how many places are listed for a pair, and one where it still is."""
    found, entry, is_last = np.int64(-1), np.int64(m.pairs[pair].first), False
    while not is_last:
        place = np.int64(m.listed[entry])
        is_last, entry = place < 0, entry + 1
        place = ~place if is_last else place
        if found < 0 and is_pair_at(m, place, left, right):
            found = place
    return entry - m.pairs[pair].first, found


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
        if m.size[LISTED] + 2 * n_listed > len(m.text):
            drop_gone(m, pair_slots)
            pair = most_frequent(m)
            n_listed, place = survey(m, pair, left, right)
        if 3 * (m.size[PAIRS] + 2 * n_listed) > 2 * len(pair_slots):
            return n, 2 * n_listed
        drop_first(m)
        merges[n, 0], merges[n, 1] = left, right
        first, n_pairs = place - FIRST - word_of(m, place), m.size[PAIRS]
        new = new_token(m, first, length_of(m, left) + length_of(m, right))
        join_all(m, pair_slots, pair, left, right, new)
        m.pairs[pair].count = 0
        list_new(m, n_pairs)
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

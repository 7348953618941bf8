"""The tokenizer's inner loops, compiled by Numba: GPT-2's pre-tokens, counts, merges, ids.

Importing this takes a moment and compiling it once some seconds, so only large texts come here;
small ones take the plain Python in `bpe` and `encoder`, which says the same more readably. All is
in one file because Numba's cache does not notice a change in another. Where a plain 0 would reach a
function it says np.int64(0), lest Numba compile that function once more for the constant.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import regex
from jaxtyping import Int, Int32, Int64, UInt8
from numba import njit

Bytes = UInt8[np.ndarray, "n"]
Numbers = Int[np.ndarray, "n"]

OTHER, LETTER, NUMBER, SPACE = range(4)
APOSTROPHE, BLANK = b"' "
CONTRACTIONS = np.frombuffer(b"s d m t llvere", dtype=np.uint8)
LOW_HALF = 2**32 - 1
SIGN = -(2**63)

WIDE = 2**31
"""From so many places on, their numbers take 64 bits."""

WITHOUT_OWNERS = {"_nrt": False}
"""No function here allocates an array; counting who holds one took more time than all the rest."""


def compiled(function: Callable) -> Callable:
    """Return function compiled at its first call, kept on disk where there is a place to write."""
    plain = inspect.unwrap(function)  # the test suite's type checks do not compile
    try:
        return njit(plain, cache=True, nogil=True, **WITHOUT_OWNERS)
    except RuntimeError:  # neither beside this file nor in the user's cache may one write
        return njit(plain, nogil=True, **WITHOUT_OWNERS)


def part(function: Callable) -> Callable:
    """Return function compiled into those that are `compiled`; Python cannot call it."""
    plain = inspect.unwrap(function)
    return njit(plain, no_cpython_wrapper=True, no_cfunc_wrapper=True, **WITHOUT_OWNERS)


def writable(raw: bytes) -> UInt8[np.ndarray, "n"]:
    """Return raw as an array; for one that cannot be written to, Numba would compile anew."""
    return np.frombuffer(raw, dtype=np.uint8).copy()


# Pre-tokens


@functools.cache
def character_classes() -> Bytes:
    """Return for each code point whether the regex module calls it letter, number or space."""
    classes = np.full(0x110000, OTHER, dtype=np.uint8)
    points = np.arange(len(classes), dtype="<u4")
    everything = points.tobytes().decode("utf-32-le", errors="surrogatepass")
    for kind, run in ((LETTER, r"\p{L}+"), (NUMBER, r"\p{N}+"), (SPACE, r"\s+")):
        for match in regex.finditer(run, everything):
            classes[match.start() : match.end()] = kind
    return classes


@part
def class_at(data: Bytes, i: int, classes: Bytes) -> tuple[int, int]:
    """Return the class of the character at data[i], and how many bytes it has."""
    byte = np.int64(data[i])
    if byte < 0x80:
        return classes[byte], 1
    if byte < 0xE0:
        return classes[(byte & 0x1F) << 6 | (data[i + 1] & 0x3F)], 2
    point = (byte & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | (data[i + 2] & 0x3F)
    if byte < 0xF0:
        return classes[point], 3
    return classes[(point & 0x7FFF) << 6 | (data[i + 3] & 0x3F)], 4


@part
def contraction(data: Bytes, start: int, end: int) -> int:
    """Return the length of 's, 'd, 'm, 't, 'll, 've or 're at start, where an apostrophe stands."""
    for i in range(0, len(CONTRACTIONS), 2):
        if start + 1 < end and data[start + 1] == CONTRACTIONS[i]:
            if CONTRACTIONS[i + 1] == BLANK:
                return 2
            if start + 2 < end and data[start + 2] == CONTRACTIONS[i + 1]:
                return 3
    return 0


@part
def pre_token_end(data: Bytes, start: int, end: int, classes: Bytes) -> int:
    """Return where the pre-token of GPT-2's pattern ends that begins at start; end ends the text.

    A run of one class may take one blank along. Blanks before something else leave their last one
    to it, which is the pattern's backtracking.
    """
    if data[start] == APOSTROPHE:
        length = contraction(data, start, end)
        if length:
            return start + length
    kind, width = class_at(data, start, classes)
    i, last = start + width, start
    if data[start] == BLANK and i < end:
        following, width = class_at(data, i, classes)
        if following != SPACE:
            kind = following
            i += width
    while i < end:
        following, width = class_at(data, i, classes)
        if following != kind:
            break
        last = i
        i += width
    return last if kind == SPACE and i < end and last > start else i


@compiled
def pre_token_ends(data: Bytes, classes: Bytes, ends: Int64[np.ndarray, "n"]) -> int:
    """Write where each pre-token of data ends; return how many there are."""
    start = n = np.int64(0)
    while start < len(data):
        start = pre_token_end(data, start, len(data), classes)
        ends[n] = start
        n += 1
    return n


# Distinct byte strings


class Spans(NamedTuple):
    """Distinct byte strings, numbered as they came, each with a value of its own.

    A slot of the hash table holds all that is asked for of a short string, so that looking it up
    reads one place of memory.
    """

    slots: np.ndarray
    """A string's key, its value and its number, or -1; a power of two, half of them in use."""
    starts: Int64[np.ndarray, "starts"]
    arena: UInt8[np.ndarray, "bytes"]
    size: Int64[np.ndarray, "1"]


def new_spans(room: int, n_bytes: int) -> Spans:
    """Return an empty table with room, a power of two, for so many strings of so many bytes."""
    slots = np.zeros(2 * room, dtype=[("key", "i8"), ("value", "i8"), ("number", "i8")])
    slots["number"] = -1
    starts = np.zeros(room + 1, dtype=np.int64)
    return Spans(slots, starts, np.empty(n_bytes, dtype=np.uint8), np.zeros(1, dtype=np.int64))


def grown(spans: Spans, n_bytes: int) -> Spans:
    """Return spans with twice the room, and as much again and n_bytes more for their bytes."""
    out = new_spans(len(spans.slots), 2 * len(spans.arena) + n_bytes)
    out.size[0] = n = int(spans.size[0])
    out.starts[: n + 1] = spans.starts[: n + 1]
    out.arena[: spans.starts[n]] = spans.arena[: spans.starts[n]]
    move_slots(spans.slots, out.slots)
    return out


@compiled
def move_slots(slots: np.ndarray, larger: np.ndarray) -> None:
    """Enter all that slots hold into larger ones that are empty."""
    mask = len(larger) - 1
    for old in range(len(slots)):
        if slots[old].number >= 0:
            new = hash_of_key(slots[old].key) & mask
            while larger[new].number >= 0:
                new = (new + 1) & mask
            larger[new] = slots[old]


@part
def hash_of_key(key: int) -> int:
    """Return a hash of a key, all of its bits mixed into the low ones."""
    key *= -7046029254386353131
    return key ^ (key >> 32)


@part
def key_of(data: Bytes, start: int, end: int) -> int:
    """Return what tells data[start:end] from others: up to 7 bytes, the bytes themselves.

    Of more bytes it is a hash (FNV-1a), a negative number, and the bytes must be compared.
    """
    if end - start < 8:
        key = end - start
        for i in range(start, end):
            key = key << 8 | data[i]
        return key
    key = -3750763034362895579
    for i in range(start, end):
        key = (key ^ data[i]) * 1099511628211
    return key | SIGN


@part
def is_span(spans: Spans, number: int, data: Bytes, start: int, end: int) -> bool:
    """Return whether a string of spans is data[start:end]."""
    begin = spans.starts[number]
    if spans.starts[number + 1] - begin != end - start:
        return False
    for i in range(end - start):  # noqa: SIM110  Numba compiles no generator within all()
        if spans.arena[begin + i] != data[start + i]:
            return False
    return True


@part
def slot_of(spans: Spans, data: Bytes, start: int, end: int) -> int:
    """Return the slot of data[start:end], with value 0 if it is new, or -1 if it finds no room."""
    key, mask = key_of(data, start, end), len(spans.slots) - 1
    slot = hash_of_key(key) & mask
    while spans.slots[slot].number >= 0:
        if spans.slots[slot].key == key and (
            key >= 0 or is_span(spans, spans.slots[slot].number, data, start, end)
        ):
            return slot
        slot = (slot + 1) & mask
    number = spans.size[0]
    begin = spans.starts[number]
    if number + 1 == len(spans.starts) or begin + end - start > len(spans.arena):
        return -1
    for i in range(end - start):
        spans.arena[begin + i] = data[start + i]
    spans.starts[number + 1] = begin + end - start
    spans.slots[slot].key, spans.slots[slot].value = key, 0
    spans.slots[slot].number = number
    spans.size[0] += 1
    return slot


@compiled
def count_some(spans: Spans, data: Bytes, start: int, classes: Bytes) -> int:
    """Count the pre-tokens of data from start; return where it stopped for lack of room."""
    while start < len(data):
        end = pre_token_end(data, start, len(data), classes)
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


# Training

TOKENS, PAIRS, LISTED, QUEUED = range(4)


class Merging(NamedTuple):
    """The distinct words of a text, laid end to end, while pairs of their tokens are merged."""

    text: UInt8[np.ndarray, "places"]
    """The 256 bytes, then the words, each after a place that parts it from what stands before."""
    places: np.ndarray
    """The token that begins at a place, or -1; where the one before it begins; its word's count."""
    tokens: np.ndarray
    """Where in text the bytes of a token stand first, and how many they are."""
    pairs: np.ndarray
    """The left token, and the right one in the low 32 bits; the count; the largest count that the
    queue has for it; the head of the list of its places."""
    listed: np.ndarray
    """A list's entry: a place where the pair came to stand, the entry before, whose list it is."""
    queue: np.ndarray
    """A heap of pairs with their counts as they were when queued."""
    size: Int64[np.ndarray, "4"]


def new_merging(
    text: UInt8[np.ndarray, "bytes"],
    starts: Int64[np.ndarray, "starts"],
    counts: Int64[np.ndarray, "words"],
    n_new: int,
) -> tuple[Merging, Any]:
    """Return words, laid end to end in text, ready for merging, and the hash table of their pairs.

    Every join takes one token away and lists at most two places, so all sizes are bounded by the
    bytes of the distinct words; what is not used of them is never touched, and takes no memory.
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
    n_pairs = min(2**16, len(text))  # the bytes make no more
    pair_slots = np.full(2 ** (2 * n_pairs).bit_length(), -1, dtype=index)
    lay_out(merging, pair_slots, text, starts, counts)
    return merging, pair_slots


@compiled
def lay_out(m: Merging, pair_slots: Numbers, text: Bytes, starts: Numbers, counts: Numbers) -> None:
    """Write the 256 bytes and the words, count their pairs, and queue these."""
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
    """Return the bytes of a token."""
    return np.int64(m.tokens[token].length)


@part
def new_token(m: Merging, first: int, length: int) -> int:
    """Return the number of a new token with the bytes of text from first."""
    token = m.size[TOKENS]
    m.tokens[token].first, m.tokens[token].length = first, length
    m.size[TOKENS] += 1
    return token


@part
def pair_of(m: Merging, pair_slots: Numbers, left: int, right: int) -> int:
    """Return the number of a pair of tokens, a new one if it was not met before."""
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
    """Return a larger table of the same pairs, where n_more leave half of it empty."""
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
    """Count and list the pair of left and right that now stands at place."""
    pair, entry = pair_of(m, pair_slots, left, right), m.size[LISTED]
    m.pairs[pair].count += m.places[place].count
    m.listed[entry].place, m.listed[entry].pair = place, pair
    m.listed[entry].earlier = m.pairs[pair].latest
    m.pairs[pair].latest = entry
    m.size[LISTED] += 1


@part
def queue_risen(m: Merging, first_listed: int) -> None:
    """Queue the pairs that gained places since first_listed, each with its count of now."""
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

    The one counted more is, and of two counted alike the one spelled greater.
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
    """Take the first pair out of the queue."""
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

    Counts that fell leave too large a count in the queue, put right when it comes first; no pair's
    largest count there is ever too small.
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
def stands_at(m: Merging, place: int, left: int, right: int) -> bool:
    """Return whether the tokens left and right begin at place."""
    return token_at(m, place) == left and token_at(m, place + length_of(m, left)) == right


@part
def join(m: Merging, pair_slots: Numbers, place: int, left: int, right: int, new: int) -> None:
    """Join left and right at place to the token new, and tell the pairs on both sides."""
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
    """Join left and right at each listed place of their pair where they still stand."""
    entry = np.int64(m.pairs[pair].latest)
    while entry >= 0:
        place = np.int64(m.listed[entry].place)
        if left == right and token_at(m, place) == left:
            while token_at(m, before_of(m, place)) == left:  # a run is joined from its left end
                place = before_of(m, place)
        while stands_at(m, place, left, right):
            join(m, pair_slots, place, left, right, new)
            place += length_of(m, new)
        entry = np.int64(m.listed[entry].earlier)


@part
def survey(m: Merging, pair: int, left: int, right: int) -> tuple[int, int]:
    """Return how many places are listed for a pair, and one of those where it still stands."""
    n_listed, place, entry = 0, -1, np.int64(m.pairs[pair].latest)
    while entry >= 0:
        n_listed += 1
        if place < 0 and stands_at(m, np.int64(m.listed[entry].place), left, right):
            place = np.int64(m.listed[entry].place)
        entry = np.int64(m.listed[entry].earlier)
    return n_listed, place


@compiled
def merge_some(
    m: Merging, pair_slots: Numbers, n_tokens: int, merges: Int64[np.ndarray, "most 2"]
) -> tuple[int, int]:
    """Write the next merges, up to n_tokens in all; return how many, and what it stopped for.

    That is the number of pairs for which pair_slots has no room, or 0.
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


# Encoding


class Rules(NamedTuple):
    """Merges by number, to be found by the pair of tokens that they join."""

    slots: Int32[np.ndarray, "slots"]
    """A hash table of the first merge of each pair."""
    again: Int64[np.ndarray, "merges"]
    """The next merge of the same pair, or -1."""
    left: Int64[np.ndarray, "merges"]
    right: Int64[np.ndarray, "merges"]
    new: Int64[np.ndarray, "merges"]
    length: Int64[np.ndarray, "tokens"]
    """The bytes of each token."""


def new_rules(merges: Int64[np.ndarray, "merges 3"], lengths: Int64[np.ndarray, "tokens"]) -> Rules:
    """Return the merges, given as left, right and new token, ready to be found."""
    left, right, new = np.ascontiguousarray(merges.T)
    slots = np.full(2 ** (len(merges).bit_length() + 1), -1, dtype=np.int32)
    rules = Rules(slots, np.empty(len(merges), dtype=np.int64), left, right, new, lengths)
    fill_rules(rules)
    return rules


@part
def rule_slot(rules: Rules, left: int, right: int) -> int:
    """Return the slot where the first merge of a pair stands, or would stand."""
    mask = len(rules.slots) - 1
    slot = hash_of_key(left << 32 | right) & mask
    while rules.slots[slot] >= 0:
        rule = rules.slots[slot]
        if rules.left[rule] == left and rules.right[rule] == right:
            break
        slot = (slot + 1) & mask
    return slot


@compiled
def fill_rules(rules: Rules) -> None:
    """Enter each merge, from the last to the first, so that the first of a pair leads its list."""
    for rule in range(len(rules.left) - 1, -1, -1):
        slot = rule_slot(rules, rules.left[rule], rules.right[rule])
        rules.again[rule] = rules.slots[slot]
        rules.slots[slot] = rule


@part
def rule_after(rules: Rules, left: int, right: int, done: int) -> int:
    """Return the first merge of a pair that comes after merge number done, or -1."""
    rule = np.int64(rules.slots[rule_slot(rules, left, right)])
    while 0 <= rule <= done:
        rule = np.int64(rules.again[rule])
    return rule


@part
def heap_push(heap: Numbers, n: int, value: int) -> int:
    """Put value into a heap of n numbers, the smallest first; return its new size."""
    i = n
    while i > 0 and heap[(i - 1) // 2] > value:
        heap[i] = heap[(i - 1) // 2]
        i = (i - 1) // 2
    heap[i] = value
    return n + 1


@part
def heap_pop(heap: Numbers, n: int) -> int:
    """Take the smallest of a heap's n numbers out; return its new size."""
    value, i = heap[n - 1], 0
    while 2 * i + 1 < n - 1:
        child = 2 * i + 1
        if child + 1 < n - 1 and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[i] = heap[child]
        i = child
    heap[i] = value
    return n - 1


class Work(NamedTuple):
    """Room to merge a span: the token at each place, where the one before is, merges to come."""

    token: Int64[np.ndarray, "bytes"]
    before: Int64[np.ndarray, "bytes"]
    queue: Int64[np.ndarray, "queue"]


def new_work(n_bytes: int) -> Work:
    """Return room for a span of n_bytes; what is not used of it takes no memory."""
    return Work(*(np.empty(n, dtype=np.int64) for n in (n_bytes, n_bytes, 3 * n_bytes)))


@part
def merge_span(
    data: Bytes, start: int, end: int, rules: Rules, work: Work, out: Numbers, n_out: int
) -> int:
    """Write the tokens of data[start:end] to out from n_out on; return where they end.

    A queue holds the merges that can be applied, by number and then by place, so that the time
    grows no faster than that of sorting, however long the span.
    """
    n, n_queued = end - start, np.int64(0)
    token, before, queue = work.token, work.before, work.queue
    for i in range(n):
        token[i], before[i] = data[start + i], i - 1
        rule = rule_after(rules, token[i - 1], token[i], np.int64(-1)) if i else -1
        if rule >= 0:
            n_queued = heap_push(queue, n_queued, rule << 32 | (i - 1))
    while n_queued:
        rule, i = queue[0] >> 32, queue[0] & LOW_HALF
        n_queued = heap_pop(queue, n_queued)
        if token[i] != rules.left[rule]:
            continue
        middle = i + rules.length[rules.left[rule]]
        if middle >= n or token[middle] != rules.right[rule]:
            continue
        token[i], token[middle] = rules.new[rule], -1
        after = i + rules.length[rules.new[rule]]
        if after < n:
            before[after] = i
            following = rule_after(rules, token[i], token[after], rule)
            if following >= 0:
                n_queued = heap_push(queue, n_queued, following << 32 | i)
        if before[i] >= 0:
            following = rule_after(rules, token[before[i]], token[i], rule)
            if following >= 0:
                n_queued = heap_push(queue, n_queued, following << 32 | before[i])
    i = 0
    while i < n:
        out[n_out] = token[i]
        n_out += 1
        i += rules.length[token[i]]
    return n_out


LONGEST_KEPT = 64
"""The bytes of the longest pre-token whose tokens are remembered."""


class Memory(NamedTuple):
    """The tokens of pre-tokens met before.

    The value of one that is a single token is that token's complement; else its tokens are told by
    their place, and their number in the low 32 bits.
    """

    spans: Spans
    tokens: Int32[np.ndarray, "bytes"]
    size: Int64[np.ndarray, "1"]


def new_memory(room: int = 2**17, n_bytes: int = 2**20) -> Memory:
    """Return an empty memory for so many pre-tokens of so many bytes; it begins anew when full."""
    tokens, size = np.empty(n_bytes, dtype=np.int32), np.zeros(1, dtype=np.int64)
    return Memory(new_spans(room, n_bytes), tokens, size)


@part
def forget(memory: Memory) -> None:
    """Make a memory as if it were new."""
    for slot in range(len(memory.spans.slots)):
        memory.spans.slots[slot].number = -1
    memory.spans.size[0] = memory.size[0] = 0


@part
def remembered(data: Bytes, start: int, end: int, rules: Rules, work: Work, memory: Memory) -> int:
    """Return the value of a pre-token in memory, merged if it is new; a full memory is emptied."""
    slot = slot_of(memory.spans, data, start, end)
    if slot < 0:
        forget(memory)
        slot = slot_of(memory.spans, data, start, end)
    if memory.spans.slots[slot].value == 0:
        first = memory.size[0]
        last = merge_span(data, start, end, rules, work, memory.tokens, first)
        if last == first + 1:
            memory.spans.slots[slot].value = ~np.int64(memory.tokens[first])
        else:
            memory.spans.slots[slot].value = first << 32 | (last - first)
            memory.size[0] = last
    return memory.spans.slots[slot].value


@compiled
def encode_texts(
    data: Bytes,
    ends: Int64[np.ndarray, "texts"],
    classes: Bytes,
    rules: Rules,
    work: Work,
    memory: Memory,
    out: Int32[np.ndarray, "bytes"],
) -> None:
    """Write the tokens of texts that stand end to end in data; ends turns to where theirs end."""
    start = n_out = np.int64(0)
    for text in range(len(ends)):
        text_end = ends[text]
        while start < text_end:
            end = pre_token_end(data, start, text_end, classes)
            if end - start > LONGEST_KEPT:
                n_out = merge_span(data, start, end, rules, work, out, n_out)
            else:
                value = remembered(data, start, end, rules, work, memory)
                if value < 0:
                    out[n_out] = ~value
                    n_out += 1
                else:
                    for i in range(value >> 32, (value >> 32) + (value & LOW_HALF)):
                        out[n_out] = memory.tokens[i]
                        n_out += 1
            start = end
        ends[text] = n_out

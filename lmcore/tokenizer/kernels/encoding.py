"""Encoding: merges applied in their order inside each pre-token, and the results cached."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64

from lmcore.tokenizer.kernels.arrays import Bytes, Numbers, writable
from lmcore.tokenizer.kernels.compiler import compiled, part
from lmcore.tokenizer.kernels.scanner import character_classes, pre_token_end
from lmcore.tokenizer.kernels.spans import Spans, hash_of_key, new_spans, slot_of

LOW_HALF = 2**32 - 1

LONGEST_CACHED = 64
"""The bytes of the longest pre-token whose tokens are cached."""

LENGTH_BITS, LENGTH_MASK = 7, 2**7 - 1
"""Where a cached value of 32 bits has the number of tokens, which is at most LONGEST_CACHED."""


class CompiledEncoder:
    """Encodes texts by merges, given as left, right and new token. Threads may share it."""

    def __init__(
        self,
        merges: Int64[np.ndarray, "merges 3"],
        lengths: Int64[np.ndarray, "tokens"],
        n_bytes: int,
        cache_slots: int = 2**18,
        cache_bytes: int = 2**20,
    ):
        self._rules, self._n_bytes = new_rules(merges, lengths), n_bytes
        self._cache_sizes = cache_slots, cache_bytes
        self._idle: list[tuple[TokenCache, Work]] = []

    def encode(self, texts: list[str]) -> list[Int32[np.ndarray, "_"]]:
        """Return the tokens of each text. More than n_bytes at once take new arrays to work in."""
        raw = [text.encode() for text in texts]
        data, ends = writable(b"".join(raw)), np.cumsum([len(text) for text in raw])
        out = np.empty(len(data), dtype=np.int32)
        try:
            cache, work = self._idle.pop()
        except IndexError:  # more threads are at work than before
            cache, work = new_cache(*self._cache_sizes), new_work(self._n_bytes)
        if len(data) > len(work.token):
            work = new_work(len(data))
        encode_texts(data, ends, character_classes(), self._rules, work, cache, out)
        self._idle.append((cache, work))
        return np.split(out[: ends[-1]].copy(), ends[:-1])


class Rules(NamedTuple):
    """Merges by number, in a hash table by the pair of tokens that they join."""

    slots: Int32[np.ndarray, "slots"]
    """The first merge of each pair, or -1."""
    again: Int64[np.ndarray, "merges"]
    """The next merge of the same pair, or -1."""
    left: Int64[np.ndarray, "merges"]
    right: Int64[np.ndarray, "merges"]
    new: Int64[np.ndarray, "merges"]
    length: Int64[np.ndarray, "tokens"]
    """The bytes of each token."""


def new_rules(merges: Int64[np.ndarray, "merges 3"], lengths: Int64[np.ndarray, "tokens"]) -> Rules:
    """Return the hash table of merges given as left, right and new token."""
    left, right, new = np.ascontiguousarray(merges.T)
    slots = np.full(2 ** (len(merges).bit_length() + 1), -1, dtype=np.int32)
    rules = Rules(slots, np.empty(len(merges), dtype=np.int64), left, right, new, lengths)
    fill_rules(rules)
    return rules


@part
def rule_slot(rules: Rules, left: int, right: int) -> int:
    """Return the slot of the first merge of a pair, or the empty one where it would go."""
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
    """Enter all merges, the last one first, so that each pair's list starts with its first."""
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
    """Push value onto a min-heap of n numbers; return its new size."""
    i = n
    while i > 0 and heap[(i - 1) // 2] > value:
        heap[i] = heap[(i - 1) // 2]
        i = (i - 1) // 2
    heap[i] = value
    return n + 1


@part
def heap_pop(heap: Numbers, n: int) -> int:
    """Pop the smallest number of a min-heap of n; return its new size."""
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
    """Arrays to merge a span in: the token at each place, where the one before begins, a queue."""

    token: Int64[np.ndarray, "bytes"]
    before: Int64[np.ndarray, "bytes"]
    queue: Int64[np.ndarray, "queue"]


def new_work(n_bytes: int) -> Work:
    """Return arrays for a span of n_bytes; the parts that are never used take no memory."""
    return Work(*(np.empty(n, dtype=np.int64) for n in (n_bytes, n_bytes, 3 * n_bytes)))


@part
def merge_span(
    data: Bytes, start: int, end: int, rules: Rules, work: Work, out: Numbers, n_out: int
) -> int:
    """Write the tokens of data[start:end] to out from n_out on; return where they end.

    A queue holds the merges that can be applied, by number and then by place, so the time grows
    only as n log n with the length of the span.
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


class TokenCache(NamedTuple):
    """The tokens of pre-tokens seen before.

    A pre-token's value in spans is the complement of its token if it has only one. Otherwise it is
    the place of the first in tokens, and in the low LENGTH_BITS bits how many they are.
    """

    spans: Spans
    tokens: Int32[np.ndarray, "bytes"]
    size: Int64[np.ndarray, "1"]


def new_cache(n_slots: int, n_bytes: int) -> TokenCache:
    """Return an empty cache with this many slots and bytes; it is cleared when it is full."""
    tokens, size = np.empty(n_bytes, dtype=np.int32), np.zeros(1, dtype=np.int64)
    return TokenCache(new_spans(n_slots, n_bytes), tokens, size)


@part
def clear(cache: TokenCache) -> None:
    """Empty a cache."""
    for slot in range(len(cache.spans.slots)):
        cache.spans.slots[slot].number = -1
    cache.spans.size[0] = cache.size[0] = 0


@part
def cached_value(
    data: Bytes, start: int, end: int, rules: Rules, work: Work, cache: TokenCache
) -> int:
    """Return the value of a pre-token in the cache, merging it if it is new."""
    slot = slot_of(cache.spans, data, start, end)
    if slot < 0:
        clear(cache)
        slot = slot_of(cache.spans, data, start, end)
    if cache.spans.slots[slot].value == 0:
        first = cache.size[0]
        last = merge_span(data, start, end, rules, work, cache.tokens, first)
        if last == first + 1:
            cache.spans.slots[slot].value = ~np.int64(cache.tokens[first])
        else:
            cache.spans.slots[slot].value = first << LENGTH_BITS | (last - first)
            cache.size[0] = last
    return cache.spans.slots[slot].value


@compiled
def encode_texts(
    data: Bytes,
    ends: Int64[np.ndarray, "texts"],
    classes: Bytes,
    rules: Rules,
    work: Work,
    cache: TokenCache,
    out: Int32[np.ndarray, "bytes"],
) -> None:
    """Write the tokens of texts laid end to end in data; their ends replace those of the texts."""
    start = n_out = np.int64(0)
    for text in range(len(ends)):
        text_end = ends[text]
        while start < text_end:
            end = pre_token_end(data, start, text_end, classes)
            if end - start > LONGEST_CACHED:
                n_out = merge_span(data, start, end, rules, work, out, n_out)
            else:
                value = cached_value(data, start, end, rules, work, cache)
                if value < 0:
                    out[n_out] = ~value
                    n_out += 1
                else:
                    first = value >> LENGTH_BITS
                    for i in range(first, first + (value & LENGTH_MASK)):
                        out[n_out] = cache.tokens[i]
                        n_out += 1
            start = end
        ends[text] = n_out

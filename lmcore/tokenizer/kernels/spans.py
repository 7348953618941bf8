"""A hash table of distinct byte strings, each with a number and a value."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from lmcore.tokenizer.kernels.arrays import Bytes, Rows, zeros
from lmcore.tokenizer.kernels.compiler import compiled, part

SIGN = -(2**63)


class Spans(NamedTuple):
    """Distinct byte strings, numbered in the order in which they were added, each with a value.

    A slot of the hash table holds all that a look-up of a short string needs, so that it reads
    memory in one place.
    """

    slots: Rows
    """A string's key, value, and number or -1. Three of four are used before it is full."""
    starts: Int64[np.ndarray, "starts"]
    arena: UInt8[np.ndarray, "bytes"]
    size: Int64[np.ndarray, "1"]


def new_spans(n_slots: int, n_bytes: int) -> Spans:
    """Return an empty table with a power of two of slots, for strings with n_bytes in all."""
    starts = np.zeros(n_slots * 3 // 4 + 1, dtype=np.int64)
    arena, size = np.empty(n_bytes, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    return Spans(new_slots(n_slots), starts, arena, size)


def new_slots(n: int) -> Rows:
    """Return n empty slots."""
    slots = zeros(n, [("key", "i8"), ("value", "i4"), ("number", "i4")])
    slots["number"] = -1
    return slots


@compiled
def enter_all(spans: Spans) -> None:
    """Enter all strings into empty slots, with value 0."""
    mask = len(spans.slots) - 1
    for number in range(spans.size[0]):
        key = key_of(spans.arena, spans.starts[number], spans.starts[number + 1])
        slot = hash_of_key(key) & mask
        while spans.slots[slot].number >= 0:
            slot = (slot + 1) & mask
        spans.slots[slot].key, spans.slots[slot].number = key, number


@part
def hash_of_key(key: int) -> int:
    """Return a hash whose low bits depend on all bits of the key."""
    key *= -7046029254386353131
    return key ^ (key >> 32)


@part
def key_of(data: Bytes, start: int, end: int) -> int:
    """Return the key of data[start:end]: its length and bytes if it has up to 7.

    The key of a longer string is a hash (FNV-1a) and negative: its bytes must be compared too.
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
    """Return the slot of data[start:end], added with value 0 if new, or -1 if there is no room."""
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

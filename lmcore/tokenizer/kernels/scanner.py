"""Where the pre-tokens of GPT-2's pattern end, without the regex module."""

import functools

import numpy as np
import regex
from jaxtyping import Int64

from lmcore.tokenizer.kernels.arrays import Bytes
from lmcore.tokenizer.kernels.compiler import compiled, part

OTHER, LETTER, NUMBER, SPACE = range(4)
APOSTROPHE, BLANK = b"' "
CONTRACTIONS = np.frombuffer(b"s d m t llvere", dtype=np.uint8)


@functools.cache
def character_classes() -> Bytes:
    """Return the class of each code point by the regex module: letter, number, space or other."""
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
    """Return the length of the contraction at the apostrophe at start, 0 if there is none."""
    for i in range(0, len(CONTRACTIONS), 2):
        if start + 1 < end and data[start + 1] == CONTRACTIONS[i]:
            if CONTRACTIONS[i + 1] == BLANK:
                return 2
            if start + 2 < end and data[start + 2] == CONTRACTIONS[i + 1]:
                return 3
    return 0


@part
def pre_token_end(data: Bytes, start: int, end: int, classes: Bytes) -> int:
    """Return where the pre-token that begins at start ends, in a text that ends at end.

    A run of one class includes one blank before it. So blanks before something else leave their
    last one to it: the pattern backtracks there.
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

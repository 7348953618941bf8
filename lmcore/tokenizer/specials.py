"""Special tokens: which a tokenizer has, and where they are in a text."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

import regex

MAX_DEPTH = 64
"""Branches within one another that the pattern of all special tokens may have: compiling it
recurses.
"""

Branches = dict[str, Any]
"""What may follow a place, by its next character; "" says that a special token ends here."""


def distinct(special_tokens: Iterable[str]) -> list[str]:
    """Return special tokens in their order, each once.

    Raises:
        ValueError: one of them is empty, or has a lone surrogate, which no bytes stand for.
    """
    specials = list(dict.fromkeys(special_tokens))
    for special in specials:
        if not special:
            raise ValueError("a special token is empty: give it characters")
        if not special.isascii() and any("\ud800" <= c <= "\udfff" for c in special):
            raise ValueError(f"special token {special!r} has a lone surrogate, which UTF-8 lacks")
    return specials


class SpecialTokens:
    """Finds special tokens in texts; of those that overlap, the first and then the longest counts.

    The time for a text does not grow with how many there are.
    """

    def __init__(self, special_tokens: Iterable[str]):
        self._sorted = sorted(distinct(special_tokens))
        self.longest = max(map(len, self._sorted), default=0)
        self._pattern = regex.compile(pattern_of(self._sorted)) if self._sorted else None

    def find(self, text: str) -> Iterator[regex.Match[str]]:
        """Return the matches of special tokens in text, in order."""
        return iter(()) if self._pattern is None else self._pattern.finditer(text)

    def split(self, text: str) -> list[str]:
        """Return text cut at special tokens: plain text at even places, special tokens at odd."""
        if self._pattern is None:
            return [text]
        parts, done = [], 0
        for match in self._pattern.finditer(text):
            parts += [text[done : match.start()], match.group()]
            done = match.end()
        return [*parts, text[done:]]

    def open_place(self, text: str, start: int, stop: int) -> int:
        """Return the first place before stop from which text may go on to a special, else stop."""
        first = max(start, len(text) + 1 - self.longest)
        return next((i for i in range(first, stop) if self._begins(text[i:])), stop)

    def _begins(self, text: str) -> bool:
        """Return whether a special token begins with text and goes on after it."""
        after = bisect_left(self._sorted, text)
        if after < len(self._sorted) and self._sorted[after] == text:
            after += 1
        return after < len(self._sorted) and self._sorted[after].startswith(text)


def pattern_of(specials: list[str]) -> str:
    """Return the pattern that matches the longest special token at a place.

    It branches where the tokens part, so that the time of a search does not grow with their number.
    """
    branches: Branches = {}
    for special in specials:
        place = branches
        for character in special:
            place = place.setdefault(character, {})
        place[""] = {}
    try:
        return _branching(branches, MAX_DEPTH)
    except RecursionError:  # each is the beginning of the next: these are few
        return "|".join(map(regex.escape, sorted(specials, key=len, reverse=True)))


def _branching(branches: Branches, depth: int) -> str:
    """Return the pattern of branches."""
    straight = ""
    while len(branches) == 1:
        [(character, branches)] = branches.items()
        straight += regex.escape(character)
    if not branches:
        return straight
    if not depth:
        raise RecursionError
    ends = "?" if "" in branches else ""
    inner = [
        regex.escape(character) + _branching(following, depth - 1)
        for character, following in branches.items()
        if character
    ]
    return f"{straight}(?:{'|'.join(inner)}){ends}"

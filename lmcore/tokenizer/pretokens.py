"""Where text is cut: at special tokens, into pre-tokens, and into pieces small enough to hold.

Merges never cross a pre-token, so nothing here may change one, however a text arrives.
"""

import codecs
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import regex

GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""How GPT-2 cuts text into pre-tokens (Radford et al. 2019)."""

CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
"""How tiktoken's cl100k_base does: numbers of at most three digits, line ends apart."""

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3's tokenizer.json does, which is cl100k_base but for blank lines."""

SAFE_CUTS = {
    GPT2_PATTERN: regex.compile(
        r"(?r)(?<=\S)(?=\s)|(?<=\p{L})(?=[^\s\p{L}])|(?<=\p{N})(?=[^\s\p{N}])"
        r"|(?<=[^\s\p{L}\p{N}'])(?=[\p{L}\p{N}])"
    ),
    CL100K_PATTERN: regex.compile(r"(?r)(?<=\S)(?=[^\S\r\n])|(?<=[\r\n])(?=\S)"),
    LLAMA3_PATTERN: regex.compile(r"(?r)(?<=\S)(?=[^\S\r\n])|(?<=[\r\n])(?=\S)"),
}
"""For each pattern, the places where it cuts whatever stands further off; found from the end."""

BLOCK = 2**20
"""How much of a text is looked at in one go."""

Texts = str | Path | Iterable[str | Path]


def pre_token_finder(pattern: str) -> Callable[[str], list[str]]:
    """Return the function that gives the pre-tokens of a text.

    Raises:
        ValueError: pattern is no regular expression, or captures a part of what it finds.
    """
    try:
        compiled = regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    if compiled.groups:
        raise ValueError(f"{pattern!r} captures a group: write (?:...) to find whole pre-tokens")
    return compiled.findall


def _finder(special_tokens: Iterable[str]) -> tuple[Callable, int]:
    """Return what finds special tokens in a text, the longest first, and that longest's length.

    Raises:
        ValueError: one of them is empty.
    """
    specials = sorted(set(special_tokens), key=len, reverse=True)
    if "" in specials:
        raise ValueError("a special token is empty: it would stand everywhere")
    if not specials:
        return (lambda text: ()), 0
    return regex.compile("|".join(map(regex.escape, specials))).finditer, len(specials[0])


def split_on_specials(text: str, special_tokens: Iterable[str]) -> list[str]:
    """Return text cut at each special token: plain text at even places, specials at odd ones.

    Where specials overlap, the longest one wins.
    """
    find, _ = _finder(special_tokens)
    parts, done = [], 0
    for match in find(text):
        parts += [text[done : match.start()], match.group()]
        done = match.end()
    return [*parts, text[done:]]


def pieces(
    blocks: Iterable[str], special_tokens: Iterable[str] = (), pattern: str = GPT2_PATTERN
) -> Iterator[tuple[str, bool]]:
    """Yield a text that comes in blocks as its special tokens, with True, and plain pieces.

    However the blocks are cut, the pre-tokens of the plain pieces are those of the text: what more
    text could change is kept back. A pattern that is not in SAFE_CUTS is cut at specials alone.
    """
    find, longest = _finder(special_tokens)
    waiting, n_waiting, n_kept = [], 0, 0
    for block in chain(blocks, [None]):
        waiting.append(block or "")
        n_waiting += len(waiting[-1])
        if block is not None and n_waiting < 2 * n_kept:
            continue  # looking again at each block would take quadratic time where nothing is cut
        text = "".join(waiting)
        certain = len(text) if block is None else max(0, len(text) - max(longest - 1, 0))
        done = 0
        for match in find(text):
            if match.start() >= certain:
                break
            if match.start() > done:
                yield text[done : match.start()], False
            yield match.group(), True
            done = match.end()
        cut = certain if block is None else _last_cut(text, done, certain, pattern)
        if cut > done:
            yield text[done:cut], False
        waiting = [text[max(done, cut) :]]
        n_waiting = n_kept = len(waiting[0])


def _last_cut(text: str, start: int, end: int, pattern: str) -> int:
    """Return the last place in text[start:end] where pattern cuts in any case, start if none."""
    found = SAFE_CUTS[pattern].search(text, start, end) if pattern in SAFE_CUTS else None
    return found.start() if found else start


def texts_in_blocks(
    texts: Texts, errors: str = "strict", seen: Callable[[int], object] = lambda n: None
) -> Iterator[Iterator[str]]:
    """Yield each text, a file's or a given one, as an iterator over its blocks.

    A string alone is a path, a string among several is a text. seen is told how many bytes of a
    file, or characters of a text, each block has.
    """
    for text in [Path(texts)] if isinstance(texts, str | Path) else texts:
        yield (_file_blocks if isinstance(text, Path) else _text_blocks)(text, errors, seen)


def plain_pieces(
    texts: Texts,
    special_tokens: Iterable[str] = (),
    pattern: str = GPT2_PATTERN,
    errors: str = "strict",
    seen: Callable[[int], object] = lambda n: None,
) -> Iterator[str]:
    """Yield all texts but for their special tokens, in `pieces`; see `texts_in_blocks`."""
    for blocks in texts_in_blocks(texts, errors, seen):
        for piece, is_special in pieces(blocks, special_tokens, pattern):
            if not is_special:
                yield piece


def _text_blocks(text: str, errors: str, seen: Callable[[int], object]) -> Iterator[str]:
    for start in range(0, len(text), BLOCK):
        seen(min(BLOCK, len(text) - start))
        yield text[start : start + BLOCK]


def _file_blocks(path: Path, errors: str, seen: Callable[[int], object]) -> Iterator[str]:
    """Yield the text of a file as it stands there, line ends included.

    Raises:
        ValueError: the file is not UTF-8, and errors is "strict".
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    with open(path, "rb") as file:
        is_last = False
        while not is_last:
            raw = file.read(BLOCK)
            is_last = not raw
            start = file.tell() - len(raw) - len(decoder.getstate()[0])
            try:
                block = decoder.decode(raw, final=is_last)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{path} is not UTF-8 at byte {start + error.start} ({error.reason}): "
                    'repair it, or read it with errors="replace"'
                ) from None
            seen(len(raw))
            yield block


def in_threads(function: Callable, items: Iterable, workers: int) -> Iterator[Any]:
    """Yield function of each item, in order; one item more is under way than there are workers.

    A single worker takes each item when it is asked for, and none ahead.
    """
    if workers == 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        under_way: deque = deque()
        for item in items:
            under_way.append(pool.submit(function, item))
            if len(under_way) > workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

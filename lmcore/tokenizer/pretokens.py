"""Where text is cut: at special tokens, into pre-tokens, and into pieces that fit into memory.

Merges never cross the end of a pre-token, so pre-tokens must not depend on how a text is cut.
"""

import codecs
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import regex

from lmcore.files import require_file
from lmcore.tokenizer.specials import SpecialTokens

GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""How GPT-2 cuts text into pre-tokens (Radford et al. 2019)."""

CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
"""How tiktoken's cl100k_base does it, with numbers of up to three digits and separate line ends."""

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Llama 3's tokenizer.json does it, which differs from cl100k_base in blank lines only."""

SAFE_CUTS = {
    GPT2_PATTERN: regex.compile(
        r"(?r)(?<=\S)(?=\s)|(?<=\p{L})(?=[^\s\p{L}])|(?<=\p{N})(?=[^\s\p{N}])"
        r"|(?<=[^\s\p{L}\p{N}'])(?=[\p{L}\p{N}])"
    ),
    CL100K_PATTERN: regex.compile(r"(?r)(?<=\S)(?=[^\S\r\n])|(?<=[\r\n])(?=\S)"),
    LLAMA3_PATTERN: regex.compile(r"(?r)(?<=\S)(?=[^\S\r\n])|(?<=[\r\n])(?=\S)"),
}
"""For each pattern, the places where it cuts whatever the rest of the text is, last one first."""

SLOW_S, SLOW_S_PER_CHARACTER = 10.0, 1e-4
"""Seconds after which a pattern of the user's is stopped. A usual one takes a thousandth of it."""

BLOCK = 2**20
"""Bytes of a file, or characters of a text, that are read at once."""

Texts = str | Path | Iterable[str | Path]
Report = Callable[[int], object]
"""What gets the amount of work done since it was called last, such as a bar's `update`."""


def no_report(n: int) -> None:
    """Report nothing."""


def pre_token_finder(pattern: str) -> Callable[[str], list[str]]:
    """Return the function that gives the pre-tokens of a text: what pattern matches, and the rest.

    Text between two matches is a pre-token too, as with Split in a tokenizer.json.

    Raises:
        ValueError: pattern is not a regular expression, or matches a text without a character.
    """
    compiled = compiled_pattern(pattern)
    if pattern in SAFE_CUTS:  # they match any text completely
        return compiled.findall

    def find(text: str) -> list[str]:
        ends = [0]
        try:
            for match in compiled.finditer(text, timeout=SLOW_S + len(text) * SLOW_S_PER_CHARACTER):
                ends += match.span()
        except TimeoutError:
            raise ValueError(
                f"pattern {pattern!r} takes too long on a text of {len(text):,} characters: it "
                "tries too many ways to match; write it without a + or * inside another one"
            ) from None
        return [text[start:end] for start, end in pairwise([*ends, len(text)]) if start < end]

    return find


def compiled_pattern(pattern: str) -> regex.Pattern[str]:
    """Return pattern compiled.

    Raises:
        ValueError: it is not a regular expression, or matches a text without a character.
    """
    try:
        compiled = regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}") from None
    if compiled.match("") is not None:
        raise ValueError(f"pattern {pattern!r} matches empty pre-tokens: write + for *")
    return compiled


def pieces(
    blocks: Iterable[str], specials: SpecialTokens, pattern: str = GPT2_PATTERN
) -> Iterator[tuple[str, bool]]:
    """Yield the joined blocks as plain pieces, with False, and special tokens, with True.

    The pre-tokens of the plain pieces are those of the whole text, wherever the blocks are cut:
    text that further text could change is held back. With a pattern that is not in SAFE_CUTS, text
    is cut at special tokens only.
    """
    waiting, n_waiting, n_uncut = [], 0, 0
    for block in chain(blocks, [None]):
        waiting.append(block or "")
        n_waiting += len(waiting[-1])
        if block is not None and n_waiting < 2 * n_uncut:
            continue  # searching after each block would take quadratic time where nothing is cut
        text = "".join(waiting)
        certain = len(text) if block is None else max(0, len(text) - max(specials.longest - 1, 0))
        done = 0
        for match in specials.find(text):
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
        n_waiting = n_uncut = len(waiting[0])


def _last_cut(text: str, start: int, end: int, pattern: str) -> int:
    """Return the last safe cut of pattern in text[start:end], or start if there is none."""
    cut = SAFE_CUTS[pattern].search(text, start, end) if pattern in SAFE_CUTS else None
    return cut.start() if cut else start


def texts_in_blocks(
    texts: Texts, errors: str = "strict", on_read: Report = no_report
) -> Iterator[Iterator[str]]:
    """Yield an iterator over the blocks of each text.

    A single string is a path; a string in a list is a text. on_read gets the bytes of each block of
    a file, or the characters of each block of a text.
    """
    for text in [Path(texts)] if isinstance(texts, str | Path) else texts:
        if isinstance(text, Path):
            yield _file_blocks(text, errors, on_read)
        else:
            yield _text_blocks(text, on_read)


def plain_pieces(
    texts: Texts,
    special_tokens: Iterable[str] = (),
    pattern: str = GPT2_PATTERN,
    errors: str = "strict",
    on_read: Report = no_report,
) -> Iterator[str]:
    """Yield the `pieces` of all texts that are not special tokens; see `texts_in_blocks`."""
    specials = SpecialTokens(special_tokens)
    for blocks in texts_in_blocks(texts, errors, on_read):
        for piece, is_special in pieces(blocks, specials, pattern):
            if not is_special:
                yield piece


def _text_blocks(text: str, on_read: Report) -> Iterator[str]:
    for start in range(0, len(text), BLOCK):
        block = text[start : start + BLOCK]
        try:
            block.isascii() or block.encode()
        except UnicodeEncodeError as error:
            surrogate, place = error.object[error.start], start + error.start
            raise ValueError(
                f"a text has the lone surrogate {surrogate!r} at character {place}, which UTF-8 "
                "lacks: read its file with errors='replace'"
            ) from None
        on_read(len(block))
        yield block


def _file_blocks(path: Path, errors: str, on_read: Report) -> Iterator[str]:
    """Yield the text of a file with its line ends unchanged.

    Raises:
        ValueError: the file is not UTF-8, and errors is "strict", or errors names no way to go on.
    """
    try:
        codecs.lookup_error(errors)
    except LookupError:
        raise ValueError(
            f"errors must be a way to decode such as strict, replace or ignore, not {errors!r}"
        ) from None
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    with open(require_file(path), "rb") as file:
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
            on_read(len(raw))
            yield block


def in_threads(function: Callable, items: Iterable, workers: int) -> Iterator[Any]:
    """Yield function of each item, in order, computed by threads that are one item ahead.

    With one worker there is no thread, and each item is read when its result is asked for.
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

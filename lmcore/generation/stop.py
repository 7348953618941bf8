"""Text up to the first stop string."""

from collections.abc import Iterable, Iterator, Sequence


def until(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield the text of pieces before the first string of stop to be complete, if there is one.

    What could be a stop's beginning is kept back until it is known.
    """
    text = ""
    for piece in pieces:
        text += piece
        found = [(at + len(end), at) for end in stop if (at := text.find(end)) >= 0]
        if found:
            text = text[: min(found)[1]]
            break
        begun = [n for end in stop for n in range(1, len(end)) if text.endswith(end[:n])]
        sure = len(text) - max(begun, default=0)
        if sure:
            yield text[:sure]
        text = text[sure:]
    if text:
        yield text

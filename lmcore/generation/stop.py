"""Text up to the first stop string."""

from collections.abc import Iterable, Iterator, Sequence

from lmcore.boundary import checked


class StopStringFilter:
    """Passes text on up to the first stop string that is complete.

    Text that could be the beginning of a stop string is held back until more text decides.
    """

    @checked
    def __init__(self, stop: Sequence[str]):
        if not all(stop):
            raise ValueError(f"stop takes a list of strings that are not empty, not {stop!r}")
        self.stop, self.held_back, self.has_stopped = tuple(stop), "", False

    def feed(self, piece: str) -> str:
        """Return the text, with piece at its end, that certainly precedes every stop string."""
        if self.has_stopped:
            return ""
        text = self.held_back + piece
        matches = [(at + len(s), at) for s in self.stop if (at := text.find(s)) >= 0]
        if matches:
            self.has_stopped, self.held_back = True, ""
            return text[: min(matches)[1]]
        begun = [n for s in self.stop for n in range(1, len(s)) if text.endswith(s[:n])]
        certain = len(text) - max(begun, default=0)
        self.held_back = text[certain:]
        return text[:certain]

    def finish(self) -> str:
        """Return what was held back, now that no text follows."""
        rest, self.held_back = self.held_back, ""
        return rest


def text_before_stop(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield the text of pieces that precedes the first complete stop string, or all of it."""
    stops = StopStringFilter(stop)
    for piece in pieces:
        if text := stops.feed(piece):
            yield text
        if stops.has_stopped:
            return
    if text := stops.finish():
        yield text

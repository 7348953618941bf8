"""Ctrl-C and SIGTERM wait until a step is finished, but only while the training loop computes."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether one of SIGNALS arrived inside a `deferred` block."""

    def __init__(self):
        self.is_requested = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Note the signals inside the block instead of acting on them; handle them as usual after.

        Only the main thread can do so; in others the block changes nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                # None is a handler that was not set from Python, which Python cannot set again.
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.is_requested = True

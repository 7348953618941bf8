"""How Numba compiles the loops of this folder, and what happens where it cannot.

Numba starts in a moment and compiles once in some seconds, so small texts are left to plain Python.
Importing this module imports neither Numba nor NumPy, which take longer to load than a small text
takes to tokenize. The modules with loops in them do.
"""

import functools
import hashlib
import inspect
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

NO_REFERENCE_COUNTS: dict[str, Any] = {"_nrt": False}
"""No loop here allocates an array, and counting references took more time than all the rest."""

_works: dict[Callable[[], object], bool] = {}
_lock = threading.Lock()


def compiled(function: Callable) -> Callable:
    """Return function compiled at its first call, and cached on disk where that can be written."""
    from numba import njit

    plain = inspect.unwrap(function)  # the type checks of the test suite do not compile
    plain.__qualname__ = f"{plain.__name__}.{_sources()}"
    try:
        return njit(plain, cache=True, nogil=True, **NO_REFERENCE_COUNTS)
    except RuntimeError:  # neither this folder nor the user's cache can be written
        return njit(plain, nogil=True, **NO_REFERENCE_COUNTS)


def part(function: Callable) -> Callable:
    """Return function compiled into those that are `compiled`; Python cannot call it."""
    from numba import njit

    plain = inspect.unwrap(function)
    return njit(plain, no_cpython_wrapper=True, no_cfunc_wrapper=True, **NO_REFERENCE_COUNTS)


@functools.cache
def _sources() -> str:
    """Return a hash of this folder's source.

    It is part of the name of each cached function, because Numba does not notice that a function
    from another file has changed.
    """
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def works(trial: Callable[[], object]) -> bool:
    """Return whether trial runs, which is to call the compiled code that is needed.

    The answer is kept. The first failure counts for all trials, and a warning gives its reason.
    """
    with _lock:
        if trial not in _works:
            _works[trial] = all(_works.values()) and _runs(trial)
        return _works[trial]


def _runs(trial: Callable[[], object]) -> bool:
    try:
        import numba

        if numba.config.DISABLE_JIT:
            raise RuntimeError("NUMBA_DISABLE_JIT is set")
        trial()
    except Exception as error:  # missing, out of memory, disk full: the remedy is the same
        warnings.warn(
            f"Numba cannot compile here ({type(error).__name__}: {error}): tokenizers use plain "
            "Python, which gives the same tokens but takes longer",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True

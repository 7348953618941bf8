"""The arrays that the loops of this folder work on."""

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Int, UInt8

Bytes = UInt8[np.ndarray, "n"]
Numbers = Int[np.ndarray, "n"]
Rows = Any
"""A structured array: type checkers do not know the names of its fields."""


def writable(raw: bytes) -> Bytes:
    """Return raw as an array that can be written; for another one Numba would compile again."""
    return np.frombuffer(raw, dtype=np.uint8).copy()


def zeros(n: int, dtype: npt.DTypeLike) -> np.ndarray:
    """Return n zeros in memory of their own, which goes back to the system with them.

    The parts that are never used take none.
    """
    kind = np.dtype(dtype)
    return np.frombuffer(mmap.mmap(-1, max(1, n * kind.itemsize)), dtype=kind, count=n)

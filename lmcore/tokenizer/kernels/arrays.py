"""The arrays that the loops of this folder work on."""

import numpy as np
from jaxtyping import Int, UInt8

Bytes = UInt8[np.ndarray, "n"]
Numbers = Int[np.ndarray, "n"]


def writable(raw: bytes) -> Bytes:
    """Return raw as an array that can be written; for another one Numba would compile again."""
    return np.frombuffer(raw, dtype=np.uint8).copy()

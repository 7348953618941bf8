"""What is inside a network that learned modular arithmetic: its waves, and how it does without.

Addition and subtraction mod p are spoken of in the order of residues. Multiplication and division
become addition and subtraction of logarithms, in the order of the powers of a primitive root: zero,
which has no logarithm, is left out of it. A table holds something for each pair (a, b).
"""

import math
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Num

Sign = Literal[1, -1]
"""Whether an answer depends on a + b or on a - b, of residues or of logarithms."""


def primitive_root(p: int) -> int:
    """Return the smallest number whose powers are all residues mod p except zero.

    Raises:
        ValueError: p is not prime.
    """
    if p < 2 or any(p % d == 0 for d in range(2, math.isqrt(p) + 1)):
        raise ValueError(f"{p} is not a prime: not all residues but zero are powers of one of them")
    divisors = [d for d in range(1, p - 1) if (p - 1) % d == 0]
    return next(g for g in range(1, p) if all(pow(g, d, p) != 1 for d in divisors))


def powers(p: int) -> Int[np.ndarray, "order"]:
    """Return the residues mod p except zero, in the order of their logarithms.

    Raises:
        ValueError: p is not prime.
    """
    root, out = primitive_root(p), [1]
    while len(out) < p - 1:
        out.append(out[-1] * root % p)
    return np.array(out)


def discrete_logarithm(x: Int[np.ndarray, "*batch"], p: int) -> Int[np.ndarray, "*batch"]:
    """Return the exponents of the primitive root that give the residues x mod p.

    Raises:
        ValueError: p is not prime, or an x is zero mod p.
    """
    if not np.all(x % p):
        raise ValueError(f"0 mod {p} has no logarithm: leave it out")
    return np.argsort(powers(p))[x % p - 1]


def by_logarithm(
    values: Num[np.ndarray, "p *rest"], axes: Literal[1, 2]
) -> Num[np.ndarray, "order ..."]:
    """Return values, whose first axes count residues mod p, in the order of logarithms."""
    order = powers(len(values))
    return values[order] if axes == 1 else values[np.ix_(order, order)]


def power(values: Float[np.ndarray, "n *rest"]) -> Float[np.ndarray, "frequencies *rest"]:
    """Return the part of the sum of squares over the first axis at each frequency.

    Frequencies are 0, the constant, to n // 2, in turns over all n values (Parseval's theorem).
    """
    n = len(values)
    spectrum = np.abs(np.fft.rfft(values.astype(np.float64), axis=0)) ** 2 / n
    spectrum[1 : (n + 1) // 2] *= 2  # those of which the conjugate is not stored
    return spectrum


def table_power(table: Float[np.ndarray, "n n *rest"]) -> Float[np.ndarray, "n n *rest"]:
    """Return the part of a table's sum of squares at each frequency in a and in b.

    Frequencies start at 0; -k is at n - k.
    """
    return np.abs(np.fft.fft2(table.astype(np.float64), axes=(0, 1)) / len(table)) ** 2


def shares(spectrum: Float[np.ndarray, "frequencies *rest"]) -> Float[np.ndarray, "waves *rest"]:
    """Return each frequency's share of the power without the constant, from frequency 1 on.

    If there is no other power, all shares are zero.
    """
    total = spectrum[1:].sum(0)
    return spectrum[1:] / np.where(total > 0, total, 1)


def share_by_frequency(
    table: Float[np.ndarray, "n n *rest"],
) -> Float[np.ndarray, "waves *rest"]:
    """Return the share of a table's variance that waves of one frequency explain, from 1 on.

    They are those in which a and b each have that frequency or none, so that a neuron which reads
    one frequency has a share of 1 there (Nanda et al. 2023, 2301.05217, section 4.3). A frequency
    n - k is k.
    """
    n, spectrum = len(table), table_power(table)
    spectrum[0, 0] = 0
    total = spectrum.sum((0, 1))
    modes = [sorted({0, k, n - k}) for k in range(1, n // 2 + 1)]
    powers_by_frequency = np.stack([spectrum[np.ix_(k, k)].sum((0, 1)) for k in modes])
    return powers_by_frequency / np.where(total > 0, total, 1)


def along(table: Float[np.ndarray, "n n *rest"], sign: Sign) -> Float[np.ndarray, "n *rest"]:
    """Return the mean of a table over the pairs that share each value of a + sign · b mod n."""
    b = np.arange(len(table))
    return np.stack([table[(s - sign * b) % len(table), b].mean(0, np.float64) for s in b])


def wave_power(
    table: Float[np.ndarray, "n n *rest"], sign: Sign
) -> Float[np.ndarray, "frequencies *rest"]:
    """Return the part of a table's sum of squares in waves of a + sign · b, by frequency."""
    return len(table) * power(along(table, sign))


def waves(
    table: Float[np.ndarray, "n n *rest"], frequencies: list[int], sign: Sign
) -> Float[np.ndarray, "n n *rest"]:
    """Return the part of a table that is made of waves of these frequencies in a + sign · b.

    Raises:
        ValueError: a frequency is not one of n values.
    """
    n = len(table)
    if not all(1 <= k <= n // 2 for k in frequencies):
        raise ValueError(f"waves over {n} values have frequencies 1 to {n // 2}, not {frequencies}")
    spectrum = np.fft.rfft(along(table, sign), axis=0)
    chosen = np.zeros_like(spectrum)
    chosen[frequencies] = spectrum[frequencies]
    a, b = np.ogrid[:n, :n]
    return np.fft.irfft(chosen, n, axis=0)[(a + sign * b) % n]


def restricted(
    logits: Float[np.ndarray, "n n classes"], frequencies: list[int], sign: Sign
) -> Float[np.ndarray, "n n classes"]:
    """Return what is left of logits with only their mean and the waves of these frequencies.

    Their loss is the restricted loss of Nanda et al. 2023 (2301.05217, section 5.1). There the
    waves are of a + b, and the operation is addition; here sign says which, and for products and
    quotients a and b are logarithms, so that pairs with a zero are not judged.
    """
    return logits.mean((0, 1)) + waves(logits, frequencies, sign)


def excluded(
    logits: Float[np.ndarray, "n n classes"], frequencies: list[int], sign: Sign
) -> Float[np.ndarray, "n n classes"]:
    """Return logits without the waves of these frequencies.

    Their loss over the training pairs is the excluded loss of Nanda et al. 2023 (2301.05217,
    section 5.1), which shows how much the model has memorised.
    """
    return logits - waves(logits, frequencies, sign)


def key_frequencies(share: Float[np.ndarray, "waves"], together: float) -> list[int]:
    """Return the fewest frequencies that have this share together, the largest first.

    Raises:
        ValueError: together is not in (0, 1), or all shares are zero.
    """
    if not 0 < together < 1:
        raise ValueError(f"give a part of the power between 0 and 1, not {together}")
    if not share.any():
        raise ValueError("there are no waves to choose from: all shares are zero")
    order = np.argsort(-share, kind="stable")
    n = np.argmax(np.cumsum(share[order]) >= together * share.sum()) + 1
    return (order[:n] + 1).tolist()


def gini(values: Float[np.ndarray, "n"]) -> float:
    """Return the Gini coefficient: 0 if all values are equal, 1 - 1/n if all but one are zero.

    Raises:
        ValueError: a value is below zero, or all are zero.
    """
    if values.min() < 0 or not values.any():
        raise ValueError("a Gini coefficient is of values of zero and above, not all zero")
    n, rising = len(values), np.sort(values).astype(np.float64)
    return float((2 * np.arange(1, n + 1) - n - 1) @ rising / (n * rising.sum()))


def loss_and_accuracy(
    logits: Float[np.ndarray, "*pairs classes"], answers: Int[np.ndarray, "*pairs"]
) -> tuple[float, float]:
    """Return the mean cross-entropy in nats, taken in float64, and the share of right answers."""
    above = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    right = np.take_along_axis(above, answers[..., None], -1)[..., 0]
    nats = np.log(np.exp(above).sum(-1)) - right
    return float(nats.mean()), float((logits.argmax(-1) == answers).mean())

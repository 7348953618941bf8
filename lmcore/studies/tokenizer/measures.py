"""Numbers read from surveys: bytes per token, and extra tokens on other text."""

import math

import numpy as np

from lmcore.experiments.run_folder import Run
from lmcore.studies.tokenizer.surveys import Row

PUBLISHED_SWEEP = {8_192: 1.1937, 10_240: 1.1660, 12_288: 1.2016, 16_000: 1.1700}
"""The challenge's number by vocabulary size in a public sweep: group 10 of
https://github.com/ruodingt/mainrun/blob/119f759f1e533e178dc1671133516719b3545007/REPORT.md
"""
PUBLISHED_SPAN = (64, 128)
"""Rows and tokens a row of that sweep's evaluator."""
PUBLISHED_COVERAGE = 0.945
"""What the evaluator covers there with 16,000 entries, the challenge's own setting."""
PUBLISHED_TRAINING_TOKENS = 1_102_455
"""Tokens of the challenge's training titles with 16,000 entries, nine times as many titles."""


def per_token(row: Row) -> float:
    """Return bytes per token."""
    return row["bytes"] / row["tokens"]


def coverage(n_tokens: float | int, batch_size: int, context_length: int) -> float:
    """Return the share of n_tokens that the challenge's evaluator scores; see `challenge_score`."""
    n_scored = batch_size * context_length
    return n_tokens // (n_scored + 1) * n_scored / n_tokens


def tokens_of(run: Run) -> dict[int, int]:
    """Return the number of validation tokens by vocabulary size, of the survey of the evaluator."""
    return {row["vocab_size"]: row["tokens"] for row in run.records}


def published_tokens(run: Run) -> dict[int, float]:
    """Return about how many tokens the titles of the public sweep have, by vocabulary size.

    They are other titles than ours, so our counts are scaled to those that the coverage of the
    challenge's own setting implies.
    """
    ours, n_scored = tokens_of(run), math.prod(PUBLISHED_SPAN)
    n_spans = PUBLISHED_TRAINING_TOKENS // 9 // (n_scored + 1)
    theirs = n_spans * n_scored / PUBLISHED_COVERAGE
    return {size: ours[size] * theirs / ours[16_000] for size in PUBLISHED_SWEEP}


def corrected_sweep(run: Run) -> dict[int, float]:
    """Return the public sweep's numbers divided by what its evaluator covers, by size."""
    tokens = published_tokens(run)
    return {
        size: number / coverage(tokens[size], *PUBLISHED_SPAN)
        for size, number in PUBLISHED_SWEEP.items()
    }


def excess(run: Run) -> np.ndarray:
    """Return the share of extra tokens by training text and encoded text."""
    texts = run.config.texts
    tokens = {(row["learned"], row["encoded"]): row["tokens"] for row in run.records}
    counts = [[tokens[learned, encoded] for encoded in texts] for learned in texts]
    return np.array(counts) / np.diag(counts) - 1

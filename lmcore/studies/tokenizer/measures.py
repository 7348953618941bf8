"""Numbers read from surveys: bytes per token, and extra tokens on other text."""

import numpy as np

from lmcore.experiments.run_folder import Run
from lmcore.studies.tokenizer.surveys import Row


def per_token(row: Row) -> float:
    """Return bytes per token."""
    return row["bytes"] / row["tokens"]


def coverage(n_tokens: float, batch_size: int, context_length: int) -> float:
    """Return the share of n_tokens that the challenge's evaluator scores; see `challenge_score`."""
    n_scored = batch_size * context_length
    return n_tokens // (n_scored + 1) * n_scored / n_tokens


def excess(run: Run) -> np.ndarray:
    """Return the share of extra tokens by training text and encoded text."""
    texts = run.config.texts
    tokens = {(row["learned"], row["encoded"]): row["tokens"] for row in run.records}
    counts = [[tokens[learned, encoded] for encoded in texts] for learned in texts]
    return np.array(counts) / np.diag(counts) - 1

"""Numbers read from surveys: bytes per token, and extra tokens on other text."""

import numpy as np

from lmcore.experiments.run_folder import Run
from lmcore.studies.tokenizer.surveys import Row


def per_token(found: Row) -> float:
    """Return bytes per token."""
    return found["bytes"] / found["tokens"]


def excess(run: Run) -> np.ndarray:
    """Return by text learned and text encoded the share of tokens beyond the text's own."""
    texts = run.config.texts
    tokens = {(row["learned"], row["encoded"]): row["tokens"] for row in run.records}
    found = [[tokens[learned, encoded] for encoded in texts] for learned in texts]
    return np.array(found) / np.diag(found) - 1

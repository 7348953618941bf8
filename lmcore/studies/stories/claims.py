"""What the text says about these runs, as assertions."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says about these runs."""

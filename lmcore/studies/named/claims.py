"""What may be said about these runs so far, as assertions."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import validation


def check_claims(runs: Sequence[Run]) -> None:
    """Assert that every validation token of every run was scored."""
    assert all(validation(run).coverage == 1 for run in runs if "diverged" not in run.outcome)

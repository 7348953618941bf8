"""What may be said about these runs so far, as assertions."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import select
from lmcore.studies.record.experiments import RATES, TUNED, tuning_name
from lmcore.studies.record.tables import best_rate


def check_claims(runs: Sequence[Run]) -> None:
    """Assert that learning rates are the best of those tried, and not at an edge."""
    for name, rates in RATES.items():
        assert all(select(runs, tuning_name(name, lr)) for lr in rates)
        assert best_rate(runs, name) == TUNED[name] in rates[1:-1]

"""What may be said about these races so far, as assertions."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.studies.speedrun.experiments import EVERY


def check_claims(runs: Sequence[Run]) -> None:
    """Assert that each race has a line for each of its seeds, solved at a step that was scored."""
    for run in runs:
        seeds = [record["seed"] for record in run.records]
        first = run.config.seed
        assert seeds == list(range(first, first + run.config.n_seeds)), run.folder
        for record in run.records:
            assert record["solved"] is None or record["solved"] % EVERY == 0, record

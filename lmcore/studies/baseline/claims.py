"""What the text says about the baseline's runs, as assertions."""

import math
from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import challenge, select, validation
from lmcore.studies.baseline.experiments import BASELINE, KNOWN_ENTROPY
from lmcore.studies.baseline.measures import entropy_floor
from lmcore.studies.headlines.measures import end_share, unigram_level


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says about headlines and about generated titles."""
    check_headlines(select(runs, BASELINE.name))
    check_known_entropy(select(runs, KNOWN_ENTROPY.name))


def check_headlines(runs: Sequence[Run]) -> None:
    """Assert that runs start knowing nothing, then predict <eos> nearly everywhere.

    They end above what counting tokens would score, and score every token.
    """
    for run in runs:
        start, end = run.records[0]["validation"], validation(run)
        uniform = math.log(run.config.model.vocab_size)
        assert abs(start.loss - uniform) < 0.15
        assert 1 < end.nats_per_character / unigram_level(run) < 1.15
        assert end_share(run.records[-1]) > 0.98
        assert end.coverage == 1
        assert challenge(run).coverage < 0.97


def check_known_entropy(runs: Sequence[Run]) -> None:
    """Assert that on titles of known entropy the same code comes close to the floor."""
    for run in runs:
        assert 1 <= validation(run).nats_per_character / entropy_floor(run.config) < 1.06

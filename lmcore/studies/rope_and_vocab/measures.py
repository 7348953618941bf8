"""Numbers read from runs: losses, differences between experiments, means by bin."""

import statistics
from collections.abc import Sequence

import numpy as np

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import select, validation
from lmcore.studies.headlines.measures import completed, mean_loss, paired_losses


def differences(runs: Sequence[Run], name: str, other: str) -> list[float]:
    """Return for each seed the final loss of an experiment minus that of another."""
    return [a - b for a, b in paired_losses(select(runs, name), select(runs, other))]


def test_differences(runs: Sequence[Run], name: str, other: str) -> list[float]:
    """Return for each seed the test loss of an experiment minus that of another."""
    known = {run.config.seed: test_loss(run) for run in completed(select(runs, other))}
    return [test_loss(run) - known[run.config.seed] for run in completed(select(runs, name))]


def loss_per_token(run: Run) -> float:
    """Return nats per token of the validation text after the last step."""
    return validation(run).loss


def test_loss(run: Run) -> float:
    """Return nats per character of test titles, which the tokenizer did not see either."""
    return run.outcome["test"].nats_per_character


def tuned_loss(runs: Sequence[Run], name: str, lr: float) -> float:
    """Return the final loss of an experiment at one of RATES."""
    return mean_loss(select(runs, f"tune-{name}-lr{lr:g}"))


def mean_by_bin(
    runs: Sequence[Run], what: str, least: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return (bins, nats per token), the mean over runs of the probe's sums by bin.

    Bins with fewer tokens than a share of least of the first bin's are left out.
    """
    sums = [run.outcome["probe"][what] for run in runs]
    counts = np.array(sums[0]["n"])
    nats = np.mean([bins["nats"] for bins in sums], axis=0)
    known = counts > least * counts[0]
    return np.flatnonzero(known).astype(float), nats[known] / counts[known]


def attention_to_self(run: Run) -> list[float]:
    """Return for each layer the attention of one title's tokens to themselves, in percent.

    It is the mean over heads and over all tokens but the first.
    """
    layers = run.outcome["probe"]["title"]["percent"]
    return [statistics.fmean(row[-1] for head in heads for row in head[1:]) for heads in layers]


MIN_SHARE = 0.05
"""Places in a title are shown that more than this share of titles have."""

"""The answer on grokking in a few sentences, with its numbers."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import mean_sd, select
from lmcore.studies.grokking.delay import delay, median_and_range
from lmcore.studies.grokking.experiments import DELAY_SHARES, delay_name
from lmcore.studies.grokking.measures import solved_at


def answer(runs: Sequence[Run]) -> str:
    """Return when the fast recipe solves its table, and the delay at the ends of the grid."""
    fast = mean_sd([solved_at(run) for run in select(runs, "division-fast")])
    least, most = (
        median_and_range(
            [delay(run) for run in select(runs, delay_name("plain", "AdamW", share))], 1
        )
        for share in (DELAY_SHARES[0], DELAY_SHARES[-1])
    )
    first = f"{100 * DELAY_SHARES[0]:.0f} %"
    return (
        "It depends on how much of the table it is trained on. With half of division modulo 97 "
        f"every seed also solves the pairs it has not seen, at step **{fast}**. Steps to unseen "
        f"pairs, divided by steps to trained ones, are {most} there for a plain head with AdamW, "
        f"and **{least} seeds** with {first} of the table (median and range)."
    )

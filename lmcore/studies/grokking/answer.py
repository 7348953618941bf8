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
    first, last = (f"{100 * share:.0f} %" for share in (DELAY_SHARES[0], DELAY_SHARES[-1]))
    return (
        "It depends on the share of the table that it is trained on. With half of division modulo "
        f"97 every seed solves the pairs it has not seen at step **{fast}**, at nearly the same "
        "time as those it has. The delay, steps to unseen pairs divided by steps to trained ones, "
        f"is {most} for a plain head with AdamW at {last} of the table and **{least} seeds** at "
        f"{first} (median and range)."
    )

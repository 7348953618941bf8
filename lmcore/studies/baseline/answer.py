"""The baseline's answer in two sentences, with its numbers."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import mean_sd, select
from lmcore.studies.baseline.experiments import BASELINE
from lmcore.studies.headlines.measures import end_share, final_loss, unigram_level


def answer(runs: Sequence[Run]) -> str:
    """Return what plain SGD reaches, next to a model that only counts tokens."""
    group = select(runs, BASELINE.name)
    reached = mean_sd([final_loss(run) for run in group], 3)
    ends = mean_sd([100 * (end_share(run.records[-1]) or 0) for run in group], 1, " %")
    return (
        f"Less than how often each token occurs: after seven epochs it scores **{reached}** nats "
        "per character on titles it has not seen, where a model that only counts tokens scores "
        f"**{unigram_level(group[0]):.3f}**. It predicts the end of the title at {ends} of all "
        "positions."
    )

"""What the study of stories found, in sentences with the numbers of its runs."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import mean_sd, select
from lmcore.studies.stories.measures import counting_gap, differences, final_loss, passes


def answer(runs: Sequence[Run]) -> str:
    """Return the answer to the study's question."""
    times = mean_sd([passes(run) for run in select(runs, "few-stories")])
    few = mean_sd([final_loss(run) for run in select(runs, "few-stories")], 2)
    more = mean_sd([final_loss(run) for run in select(runs, "more-stories")], 2)
    stopped = mean_sd([-x for x in differences(runs, EARLY, "few-stories")], 2)
    seen = mean_sd([counting_gap(run) for run in select(runs, "other-tokenizer")], 2)
    change = {name: mean_sd(differences(runs, name), 2) for name in SHOWN}
    return (
        f"A model that reads 50 stories {times} times ends at {few} nats per token; 500 stories "
        f"at the same cost end at **{more}**, and early stopping takes {stopped} off. Validation "
        "tokens of another tokenizer look as bad and are no overfitting: the gap is there before "
        f"any story is read twice, and counting tokens shows it without a model ({seen} nats). Of "
        "single changes, the steps and their size matter most: norms after each part add "
        f"{change['post-norm']} nats at the same rate, a fourfold batch {change['batch-32']} at "
        f"equal tokens, a fourfold learning rate {change['lr-0.016']}; no positions add "
        f"{change['no-positions']}."
    )


EARLY = "few-stories-early-stopping"
SHOWN = ("post-norm", "batch-32", "lr-0.016", "no-positions")

"""The AdamW swap's answer in a few sentences, with its numbers."""

from collections.abc import Sequence

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report.tables import select
from lmcore.studies.adamw_swap.experiments import LARGE_TUNED, NAMES
from lmcore.studies.baseline.experiments import BASELINE
from lmcore.studies.headlines.tables import lower


def answer(runs: Sequence[Run]) -> str:
    """Return what AdamW gains over SGD as given and over tuned SGD, and what Muon adds."""
    given = select(runs, BASELINE.name)
    sgd, adamw = (select(runs, f"large-{slug(n)}-lr{lr:g}") for n, lr in LARGE_TUNED.items())
    muon = lower(select(runs, NAMES["Muon and AdamW"]), select(runs, NAMES["AdamW"]))
    return (
        f"The swap lowers the loss by **{lower(adamw, given)}** at the baseline's size, and more "
        f"than half of that is tuning: SGD with a better learning rate gains {lower(sgd, given)}. "
        f"Against SGD tuned the same way AdamW gains **{lower(adamw, sgd)}**. At the smaller "
        f"budget of the sweeps Muon ends another {muon} below AdamW."
    )

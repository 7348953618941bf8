"""The answer on the named experiments in a few sentences, with its numbers."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.comparison import differences
from lmcore.report.tables import mean_sd
from lmcore.studies.named.experiments import scaled_name
from lmcore.studies.named.measures import PART

CHANGES = {
    "embd_xlarge": "the widest embedding",
    "embd_large": "a wider embedding",
    "vocab_small": "the smallest vocabulary",
}
"""The changes that the answer names, if they have been run."""


def answer(runs: Sequence[Run]) -> str:
    """Return by how many bits per byte some changes move the loss at equal steps, with seeds."""
    base, moved = scaled_name("baseline", PART), []
    for name, words in CHANGES.items():
        changed = differences(runs, scaled_name(name, PART), base)
        if changed:
            seeds = f"{len(changed)} seed{'s' if len(changed) > 1 else ''}"
            moved.append(f"{words} **{mean_sd(changed, 3)}** ({seeds})")
    return (
        "Wider embeddings help and smaller vocabularies harm at equal steps; at equal time wider "
        "embeddings still help, and of the smaller vocabularies the smallest still harms. "
        f"Changes in bits per byte at an eighth of the published size: {', '.join(moved)}."
    )

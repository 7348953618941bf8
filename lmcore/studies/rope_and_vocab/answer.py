"""The answer on positions and vocabularies in a few sentences, with its numbers."""

from collections.abc import Sequence

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report.tables import mean_sd, select
from lmcore.studies.headlines.tables import ladder_groups, lower
from lmcore.studies.rope_and_vocab.experiments import (
    RECIPE_SIZE,
    ROPE,
    START,
    with_vocabulary,
    within_titles,
)
from lmcore.studies.rope_and_vocab.measures import test_loss


def answer(runs: Sequence[Run]) -> str:
    """Return what RoPE, attention within titles and a larger vocabulary change."""
    learned, rope, inner = (
        select(runs, name) for name in ("learned", slug(ROPE), within_titles(ROPE))
    )
    small, large = (
        [test_loss(run) for run in select(runs, with_vocabulary(size).name)]
        for size in (START.model.vocab_size, RECIPE_SIZE)
    )
    by_size = [100 * (1 - b / a) for a, b in zip(small, large, strict=True)]
    groups = ladder_groups(runs)
    recipe = lower(groups["RoPE, RMSNorm, vocabulary of 32k"], groups["AdamW"])
    return (
        f"RoPE ends **{lower(rope, learned)}** below learned positions in the sweeps; attention "
        f"within titles takes that back ({lower(rope, inner)}). {RECIPE_SIZE:,} tokens instead of "
        f"{START.model.vocab_size:,} gain {mean_sd(by_size, 1, ' %')} on titles that the tokenizer "
        f"has not seen. At the baseline's size RoPE, RMSNorm and {RECIPE_SIZE:,} tokens together "
        f"end **{recipe}** below AdamW alone."
    )

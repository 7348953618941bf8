"""The answer on tokenizers in two sentences, with its numbers."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import select
from lmcore.studies.tokenizer.measures import excess, per_token

TEXT, SIZES = "novels", (1_024, 8_192, 65_536)
"""The text and the vocabulary sizes that the answer names."""


def answer(runs: Sequence[Run]) -> str:
    """Return bytes per token at three sizes, and what a tokenizer of another text costs."""
    (survey,), (domains,) = select(runs, "compression"), select(runs, "domains")
    rows = {row["vocab_size"]: row for row in survey.records if row["text"] == TEXT}
    few, some, many = (f"{per_token(rows[size]['held_out']):.2f}" for size in SIZES)
    more = excess(domains)
    more = more[more > 0]
    return (
        f"Longer tokens, ever more slowly: a token of {TEXT} holds {few} bytes with {SIZES[0]:,} "
        f"entries, **{some}** with {SIZES[1]:,} and {many} with {SIZES[2]:,}. A tokenizer of "
        f"another kind of text needs **{100 * more.min():.0f} to {100 * more.max():.0f} %** more "
        "tokens for the same text."
    )

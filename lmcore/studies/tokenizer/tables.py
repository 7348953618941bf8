"""Tables of the tokenizer study."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Number, Table, number
from lmcore.report.text import visible
from lmcore.studies.tokenizer.costs import exponent, fit_costs, growth_of, lengths_and_sizes
from lmcore.studies.tokenizer.surveys import Row


def plan_table(run: Run, rows: Sequence[Row]) -> Table:
    """Return the cost of training on far more text, if distinct words keep growing as measured.

    Each line uses the growth of one text. Costs are fitted to the rows of the novels.
    """
    out = []
    cost = fit_costs(lengths_and_sizes(rows)[0], growth_of(run, "novels"))
    for text in run.config.texts:
        ways = growth_of(run, text)
        rate = exponent(*zip(*((r["bytes"], r["distinct"]) for r in ways), strict=True))
        byte_rate = exponent(*zip(*((r["bytes"], r["distinct_bytes"]) for r in ways), strict=True))
        last = ways[-1]
        for n_bytes in (10**9, 10**10, 10**11):
            more = n_bytes / last["bytes"]
            distinct = last["distinct"] * more**rate
            seconds, memory = cost.of(n_bytes, last["distinct_bytes"] * more**byte_rate)
            cells = (
                Number(f"{distinct / 1e6:.1f} million", distinct / 1e6),
                number(memory / 1e9, ".1f"),
                number(seconds / 60, ".1f"),
            )
            out.append((f"{n_bytes // 10**9} GB like {text}", number(rate, ".2f"), *cells))
    header = ("text", "exponent", "distinct pre-tokens", "memory, GB", "minutes")
    return Table(header, tuple(out))


LANGUAGES = {
    "ja": "Japanese", "zh": "Chinese", "ru": "Russian", "de": "German", "shakespeare": "English",
}  # fmt: skip


def alphabet_table(run: Run) -> Table:
    """Return the sizes of alphabets and the share of unknown characters, by vocabulary size."""
    out = []
    for text in run.config.texts:
        for row in run.records:
            if row["text"] == text and row["vocab_size"] in run.config.vocab_sizes[::2]:
                ratio = row["character_tokens"] / row["byte_tokens"] - 1
                cells = (number(row["distinct"]), number(row["known"]), number(row["vocab_size"]))
                unknown = f"{row['unknown'] / row['characters']:.3%}"
                out.append((LANGUAGES[text], *cells, unknown, number(ratio, "+.1%")))
    header = (
        "language", "characters in the text", "of them entries", "entries in all",
        "held-out characters unknown", "tokens beside bytes",
    )  # fmt: skip
    return Table(header, tuple(out))


def longest_table(run: Run, n: int = 6) -> Table:
    """Return the longest tokens of each text, with their bytes and occurrences."""
    out = []
    for text in run.config.texts:
        rows = [row for row in run.records if row["text"] == text][:n]
        for row in rows:
            token = visible(row["token"]).replace(" ", "␣")
            out.append((text, token, str(row["bytes"]), number(row["merge"]), number(row["count"])))
    return Table(("text", "token", "bytes", "merge", "times in the text"), tuple(out))

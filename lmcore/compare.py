"""Tables over runs: the mean over seeds with its spread, shown in notebooks and in Markdown."""

import html
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmcore.records import Run


@dataclass(frozen=True)
class Table:
    """A header and rows of text, drawn as HTML by Jupyter and as Markdown by the README."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def _repr_html_(self) -> str:
        def line(tag: str, cells: tuple[str, ...]) -> str:
            inside = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            return f"<tr>{inside}</tr>"

        head, body = line("th", self.header), "".join(line("td", row) for row in self.rows)
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        return self.markdown()

    def markdown(self) -> str:
        """Return the table as Markdown."""
        rule = tuple("---" for _ in self.header)
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.header, rule, *self.rows))


def validation(run: Run) -> dict:
    """Return the house score of a run on all validation tokens, after its last step."""
    return run.metrics[-1]["validation"]


def challenge(run: Run) -> dict:
    """Return the challenge's own score after the last step."""
    return run.metrics[-1]["challenge"]


def per_character(score: dict) -> float:
    """Return nats per character of a stored score."""
    return score["nats"] / score["characters"]


def bits_per_byte(score: dict) -> float:
    """Return bits per byte of a stored score."""
    return score["nats"] / score["bytes"] / 0.6931471805599453


def coverage(score: dict) -> float:
    """Return the share of tokens that a stored score counts."""
    return score["n_tokens"] / score["of_tokens"]


def spread(values: Sequence[float], digits: int) -> str:
    """Return mean ± sample standard deviation; a single value stands alone."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


QUANTITIES: dict[str, Callable[[Run], float]] = {
    "validation, nats/character": lambda run: per_character(validation(run)),
    "validation, bits/byte": lambda run: bits_per_byte(validation(run)),
    "test, nats/character": lambda run: per_character(run.outcome["test"]),
    "challenge number": lambda run: per_character(challenge(run)),
    "its coverage": lambda run: coverage(challenge(run)),
}


def scores(groups: dict[str, Sequence[Run]]) -> Table:
    """Return a row for each named group of runs: scores over seeds, time and parameters."""
    header = ("runs", "seeds", *QUANTITIES, "training, minutes", "parameters")
    rows = []
    for name, runs in groups.items():
        measured = [spread([of(run) for run in runs], 4) for of in QUANTITIES.values()]
        minutes = spread([run.environment["training_s"] / 60 for run in runs], 1)
        parameters = f"{runs[0].config.model.n_parameters:,}"
        rows.append((name, str(len(runs)), *measured, minutes, parameters))
    return Table(header, tuple(rows))


def values(runs: Sequence[Run], quantity: str) -> list[float]:
    """Return one of QUANTITIES for each run."""
    return [QUANTITIES[quantity](run) for run in runs]

"""Tables of runs: mean and spread over seeds, drawn in notebooks and Markdown, numbers kept."""

import html
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmcore.config import flat_fields
from lmcore.evaluation.score_types import Score
from lmcore.experiments.run_folder import Run
from lmcore.model import accounting
from lmcore.report.text import in_markdown, in_page

if TYPE_CHECKING:
    import pandas


class Number(str):
    """A cell's text that keeps the number it shows, and over several seeds its spread.

    Number and spread have the text's unit; a number that is not known is nan.
    """

    value: float | int
    sd: float | None

    def __new__(cls, text: str, value: float | int, sd: float | None = None) -> "Number":
        """Return text with its number."""
        cell = super().__new__(cls, text)
        cell.value, cell.sd = value, sd
        return cell


def number(value: float | int, spec: str = ",") -> Number:
    """Return value as a cell, drawn as the format spec says."""
    return Number(f"{value:{spec}}", value)


class Link(str):
    """A cell's text that leads somewhere; the title is what a reader sees when pointing at it."""

    href: str
    title: str

    def __new__(cls, text: str, href: str, title: str = "") -> "Link":
        """Return text with the address that it leads to."""
        cell = super().__new__(cls, text)
        cell.href, cell.title = href, title
        return cell


RESULTS = "https://github.com/lmcore/lmcore/tree/main/results"


def link_to_runs(text: str, runs: Sequence[Run]) -> str:
    """Return text as a link to the folder of the committed runs, titled with folder and commits."""
    if not runs:
        return text
    folder = runs[0].config.path.parent.as_posix()
    sessions = [session for run in runs for session in run.environment["sessions"]]
    commits = ", ".join(sorted({session["commit"][:7] for session in sessions}))
    return Link(text, f"{RESULTS}/{folder}", f"{folder} at {commits}")


@dataclass(frozen=True)
class Table:
    """A header and rows of text, drawn as HTML by Jupyter and as Markdown by the README."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def _repr_html_(self) -> str:
        def line(tag: str, cells: tuple[str, ...]) -> str:
            inside = "".join(f"<{tag}>{_html_cell(cell)}</{tag}>" for cell in cells)
            return f"<tr>{inside}</tr>"

        head, body = line("th", self.header), "".join(line("td", row) for row in self.rows)
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"

    def __repr__(self) -> str:
        return self.markdown()

    def markdown(self) -> str:
        """Return the table as Markdown."""
        rule = tuple("---" for _ in self.header)
        rows = [[_markdown_cell(cell) for cell in row] for row in self.rows]
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.header, rule, *rows))

    def frame(self) -> "pandas.DataFrame":
        """Return the table with unrounded numbers.

        A column with any `Number` becomes a column of numbers, nan for other cells, and where
        there are spreads a second column `<name>, sd`. Other columns keep their text.
        """
        columns: dict[str, list[Any]] = {}
        for place, name in enumerate(self.header):
            cells = [row[place] for row in self.rows]
            numbers = [cell if isinstance(cell, Number) else None for cell in cells]
            if not any(cell is not None for cell in numbers):
                columns[name] = [str(cell) for cell in cells]
                continue
            columns[name] = [math.nan if cell is None else cell.value for cell in numbers]
            spreads = [None if cell is None else cell.sd for cell in numbers]
            if any(sd is not None for sd in spreads):
                columns[f"{name}, sd"] = [math.nan if sd is None else sd for sd in spreads]
        import pandas  # takes a second to load, and most tables are only shown

        return pandas.DataFrame(columns)


def _html_cell(cell: str) -> str:
    text = html.escape(in_page(cell)).replace(" ± ", "&nbsp;±&nbsp;")
    if not isinstance(cell, Link):
        return text
    href, title = html.escape(cell.href), html.escape(in_page(cell.title))
    return f'<a href="{href}" title="{title}">{text}</a>'


def _markdown_cell(cell: str) -> str:
    text = in_markdown(cell)
    return f"[{text}]({cell.href})" if isinstance(cell, Link) else text


def validation(run: Run) -> Score:
    """Return a run's score on all validation tokens after the last step."""
    return run.records[-1]["validation"]


def challenge(run: Run) -> Score:
    """Return a run's score by the headlines challenge's evaluator after the last step."""
    return run.records[-1]["challenge"]


def nats_per_character_of(kind: str) -> Callable[[dict[str, Any]], float | None]:
    """Return a function of a record: nats per character of its score called kind, or None."""
    return lambda record: record[kind].nats_per_character if kind in record else None


def select(runs: Sequence[Run], name: str) -> list[Run]:
    """Return the runs of the experiment called name, all its seeds."""
    return [run for run in runs if run.config.name == name]


def mean_sd(values: Sequence[float | int | None], digits: int = 0, unit: str = "") -> Number:
    """Return mean ± sample standard deviation of the known values.

    Equal values have no ±. Where some are None, the number of known ones follows.
    """
    known = [float(value) for value in values if value is not None]
    if not known:
        return Number(f"none of {len(values)}", math.nan)
    mean = statistics.fmean(known)
    sd = statistics.stdev(known) if len(known) > 1 else None
    text = f"{mean:.{digits}f}"
    if min(known) < max(known):
        text += f" ± {sd:.{digits}f}"
    text += unit
    if len(known) < len(values):
        text += f" ({len(known)} of {len(values)})"
    return Number(text, mean, sd)


def settings(experiments: Sequence[Any]) -> Table:
    """Return the fields in which experiments of different names differ.

    Names are columns, or rows where there are more names than fields.
    """
    by_name = {experiment.name: flat_fields(experiment) for experiment in reversed(experiments)}
    by_name = dict(reversed(by_name.items()))
    fields = [field for field in next(iter(by_name.values())) if field not in ("name", "seed")]
    differing = [f for f in fields if len({str(values[f]) for values in by_name.values()}) > 1]
    rows = tuple((f, *(_setting(values[f]) for values in by_name.values())) for f in differing)
    seeds = {name: {e.seed for e in experiments if e.name == name} for name in by_name}
    last = ("seeds", *(", ".join(map(str, sorted(seeds[name]))) for name in by_name))
    columns = (("setting", *by_name), *rows, last)
    if len(by_name) > len(columns):
        columns = tuple(zip(*columns, strict=True))
    header, *body = columns
    return Table(header, tuple(body))


def _setting(value: Any) -> str:
    """Return a field's value as text; a long list is its length and its ends."""
    if isinstance(value, (list, tuple)) and len(value) > 10:
        return f"{len(value)} values from {value[0]} to {value[-1]}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)


QUANTITIES: dict[str, Callable[[Run], float]] = {
    "validation, nats/character": lambda run: validation(run).nats_per_character,
    "validation, bits/byte": lambda run: validation(run).bpb,
    "test, nats/character": lambda run: run.outcome["test"].nats_per_character,
    "challenge number": lambda run: challenge(run).nats_per_character,
    "its coverage": lambda run: challenge(run).coverage,
}


def scores(groups: dict[str, Sequence[Run]]) -> Table:
    """Return a column for each named group of runs: scores over seeds, time and parameters."""
    columns = []
    for name, runs in groups.items():
        measured = [mean_sd([of(run) for run in runs], 4) for of in QUANTITIES.values()]
        minutes = mean_sd([run.environment["training_s"] / 60 for run in runs], 1)
        parameters = number(runs[0].config.model.n_parameters)
        columns.append((name, number(len(runs)), *measured, minutes, parameters))
    names = ("after the last step", "seeds", *QUANTITIES, "training, minutes", "parameters")
    header, *rows = zip(names, *columns, strict=True)
    return Table(header, tuple(rows))


def model_costs(
    config: Any, batch_size: int, moments: int, activation_bytes: int = 4, on_gpu: bool = False
) -> Table:
    """Return the parameters and operations of a training step, part by part of a model.

    The last rows are the memory that the step needs with an optimizer that keeps moments numbers
    for each weight.
    """
    parts = accounting.model_parts(config)
    tokens = batch_size * config.context_length
    total = accounting.ModelPart(
        name="all",
        parameters=sum(part.parameters for part in parts),
        forward_flops=sum(part.forward_flops for part in parts),
    )
    rows = [
        (
            part.name,
            number(part.parameters),
            number(tokens * part.forward_flops / 1e9, ",.3g"),
            number(2 * tokens * part.forward_flops / 1e9, ",.3g"),
            number(part.forward_flops / total.forward_flops, ".1%"),
        )
        for part in (*parts, total)
    ]
    memory = accounting.training_memory(
        config, tokens, moments=moments, activation_bytes=activation_bytes, on_gpu=on_gpu
    )
    rows += [
        (f"{name}, GB", number(getattr(memory, name) / 1e9, ".3g"), "", "", "")
        for name in ("weights", "gradients", "optimizer", "activations", "logits", "total")
    ]
    header = ("part", "parameters", "forward, GFLOP", "backward, GFLOP", "share of operations")
    return Table(header, tuple(rows))

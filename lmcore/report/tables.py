"""Tables over runs: the mean over seeds with its spread, shown in notebooks and in Markdown."""

import dataclasses
import html
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lmcore.evaluation.score_types import Score
from lmcore.experiments.run_folder import Run
from lmcore.model import accounting


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
    """Return the runs of the experiment called name."""
    return [run for run in runs if run.config.name == name]


def mean_sd(values: Sequence[float | int | None], digits: int = 0, unit: str = "") -> str:
    """Return mean ± sample standard deviation of the known values.

    Equal values have no ±. Where some are None, the number of known ones follows.
    """
    known = [float(value) for value in values if value is not None]
    if not known:
        return f"none of {len(values)}"
    text = f"{statistics.fmean(known):.{digits}f}"
    if min(known) < max(known):
        text += f" ± {statistics.stdev(known):.{digits}f}"
    text += unit
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)})"


def settings(experiments: Sequence[Any]) -> Table:
    """Return the fields in which experiments of different names differ, a column for each name."""
    named = {each.name: _flat(dataclasses.asdict(each)) for each in reversed(experiments)}
    named = dict(reversed(named.items()))
    fields = [field for field in next(iter(named.values())) if field not in ("name", "seed")]
    differing = [f for f in fields if len({str(values[f]) for values in named.values()}) > 1]
    rows = tuple((f, *(str(values[f]) for values in named.values())) for f in differing)
    seeds = {name: {e.seed for e in experiments if e.name == name} for name in named}
    last = ("seeds", *(", ".join(map(str, sorted(seeds[name]))) for name in named))
    return Table(("setting", *named), (*rows, last))


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in config.items():
        nested = isinstance(value, dict)
        out |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return out


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
        parameters = f"{runs[0].config.model.n_parameters:,}"
        columns.append((name, str(len(runs)), *measured, minutes, parameters))
    names = ("after the last step", "seeds", *QUANTITIES, "training, minutes", "parameters")
    header, *rows = zip(names, *columns, strict=True)
    return Table(header, tuple(rows))


def model_costs(
    config: Any, batch_size: int, moments: int, activation_bytes: int = 4, on_gpu: bool = False
) -> Table:
    """Return what a model of config costs, part by part, in parameters and operations of a step.

    The last rows are the bytes that a step holds with an optimizer that keeps moments numbers for
    each weight.
    """
    parts = accounting.parts(config)
    tokens = batch_size * config.context_length
    total = accounting.Part(
        name="all",
        parameters=sum(part.parameters for part in parts),
        forward_flops=sum(part.forward_flops for part in parts),
    )
    rows = [
        (
            part.name,
            f"{part.parameters:,}",
            f"{tokens * part.forward_flops / 1e9:,.3g}",
            f"{2 * tokens * part.forward_flops / 1e9:,.3g}",
            f"{part.forward_flops / total.forward_flops:.1%}",
        )
        for part in (*parts, total)
    ]
    held = accounting.memory(
        config, tokens, moments=moments, activation_bytes=activation_bytes, on_gpu=on_gpu
    )
    rows += [
        (f"{name}, GB", f"{getattr(held, name) / 1e9:.3g}", "", "", "")
        for name in ("weights", "gradients", "optimizer", "activations", "logits", "total")
    ]
    header = ("part", "parameters", "forward, GFLOP", "backward, GFLOP", "share of operations")
    return Table(header, tuple(rows))

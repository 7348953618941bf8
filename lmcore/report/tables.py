"""Tables over runs: the mean over seeds with its spread, shown in notebooks and in Markdown."""

import dataclasses
import html
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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
    return score["nats"] / score["bytes"] / math.log(2)


def coverage(score: dict) -> float:
    """Return the share of tokens that a stored score counts."""
    return score["n_tokens"] / score["of_tokens"]


def rate(kind: str) -> Callable[[dict[str, Any]], float | None]:
    """Return what reads nats per character of the score called kind off a record."""
    return lambda record: per_character(record[kind]) if kind in record else None


def named(runs: Sequence[Run], name: str) -> list[Run]:
    """Return the runs of the experiment called name."""
    return [run for run in runs if run.config.name == name]


def spread(values: Sequence[float], digits: int) -> str:
    """Return mean ± sample standard deviation; a value without spread stands alone."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    if min(values) == max(values):
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


def told(values: Sequence[float | int | None], digits: int = 0, unit: str = "") -> str:
    """Return mean and spread of those that are known, and how many are not."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return f"none of {len(values)}"
    said = spread(known, digits) + unit
    missing = len(values) - len(known)
    return f"{said} ({len(known)} of {len(values)})" if missing else said


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
    "validation, nats/character": lambda run: per_character(validation(run)),
    "validation, bits/byte": lambda run: bits_per_byte(validation(run)),
    "test, nats/character": lambda run: per_character(run.outcome["test"]),
    "challenge number": lambda run: per_character(challenge(run)),
    "its coverage": lambda run: coverage(challenge(run)),
}


def scores(groups: dict[str, Sequence[Run]]) -> Table:
    """Return a column for each named group of runs: scores over seeds, time and parameters."""
    columns = []
    for name, runs in groups.items():
        measured = [spread([of(run) for run in runs], 4) for of in QUANTITIES.values()]
        minutes = spread([run.environment["training_s"] / 60 for run in runs], 1)
        parameters = f"{runs[0].config.model.n_parameters:,}"
        columns.append((name, str(len(runs)), *measured, minutes, parameters))
    names = ("after the last step", "seeds", *QUANTITIES, "training, minutes", "parameters")
    header, *rows = zip(names, *columns, strict=True)
    return Table(header, tuple(rows))


def account(
    config: Any, batch_size: int, moments: int, activation_bytes: int = 4, on_gpu: bool = False
) -> Table:
    """Return what a model of config costs, part by part, in parameters and operations of a step.

    The last rows are the bytes that a step holds with an optimizer that keeps moments numbers for
    each weight.
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
            f"{part.parameters:,}",
            f"{tokens * part.forward_flops / 1e9:,.3g}",
            f"{2 * tokens * part.forward_flops / 1e9:,.3g}",
            f"{part.forward_flops / total.forward_flops:.1%}",
        )
        for part in (*parts, total)
    ]
    held = accounting.training_memory(
        config, tokens, moments=moments, activation_bytes=activation_bytes, on_gpu=on_gpu
    )
    rows += [
        (f"{name}, GB", f"{getattr(held, name) / 1e9:.3g}", "", "", "")
        for name in ("weights", "gradients", "optimizer", "activations", "logits", "total")
    ]
    header = ("part", "parameters", "forward, GFLOP", "backward, GFLOP", "share of operations")
    return Table(header, tuple(rows))

"""Runs as a table to look at: filtered, sorted, with what differs and how well they did."""

import operator
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lmcore.config import nearest
from lmcore.experiments.run_folder import Run
from lmcore.report.frames import runs_frame

OPERATORS = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "=": operator.eq, "<": operator.lt,
    ">": operator.gt,
}  # fmt: skip
CONDITION = re.compile(r"\s*([\w.-]+)\s*(<=|>=|!=|=|<|>)\s*(.+?)\s*")
MEASURED = ("step", "n_parameters", "validation.loss", "validation.bpb", "training_s")
"""Measured columns that are shown; a CSV file has all."""
IDENTITY = ("study", "name")
"""Columns that say what the folder says."""
MOST_NAMED = 10
"""Columns named among those that are not shown."""


def selected(
    runs: Sequence[Run],
    conditions: Sequence[str] = (),
    sort: str | None = None,
    descending: bool = False,
) -> tuple[list[Run], pd.DataFrame]:
    """Return the runs that meet all conditions, sorted by a column, and their frame.

    A condition is a column, an operator (= != < > <= >=) and a value, such as "d_model>=128". The
    last part of a column's dotted name is enough where it is unique. The frame is that of
    `runs_frame` with the folder before it; its columns of config fields are those in which the
    selected runs differ.

    Raises:
        ValueError: a condition cannot be read, or there is no such column.
    """
    frame = runs_frame(runs, every_field=True)
    for condition in conditions:
        frame = frame.loc[_meets(frame, condition)]
    if sort is not None:
        frame = frame.sort_values(column(frame, sort), ascending=not descending, kind="stable")
    chosen = [runs[int(place)] for place in frame.index]
    out = runs_frame(chosen)
    out.insert(0, "folder", [str(run.folder) for run in chosen])
    return chosen, out


def shown(frame: pd.DataFrame, width: int | None = None, columns: Sequence[str] = ()) -> str:
    """Return the frame of `selected` as text: folder, what differs, length, loss and time.

    Where that is wider than width, the settings that the fewest runs have are left out, and the
    last line names them. columns are always shown.

    Raises:
        ValueError: there is no such column.
    """
    always = ["folder", *(column(frame, name) for name in columns), "is_finished", *MEASURED]
    names = _telling(frame, always)
    heads = _short(names)
    cells = {name: [heads[name], *map(_text, frame[name])] for name in names}
    widths = {name: max(map(len, texts)) for name, texts in cells.items()}
    fitting = _fitting(frame, widths, always, width)
    lines = [
        "  ".join(_aligned(name, text, widths[name]) for name, text in row)
        for row in zip(*([(name, text) for text in cells[name]] for name in fitting), strict=True)
    ]
    hidden = [heads[name] for name in names if name not in fitting]
    if hidden:
        more = f" and {len(hidden) - MOST_NAMED} more" if len(hidden) > MOST_NAMED else ""
        lines.append(f"not shown: {', '.join(hidden[:MOST_NAMED])}{more} (--columns, --csv)")
    return "\n".join(lines)


def _fitting(
    frame: pd.DataFrame, widths: dict[str, int], always: Sequence[str], width: int | None
) -> list[str]:
    """Return the columns that a line of width has room for; all of them if width is None."""
    chosen = {name for name in widths if name in always or width is None}
    left = (width or 0) - sum(widths[name] + 2 for name in chosen) + 2
    for name in sorted(widths, key=lambda name: frame[name].isna().sum()):
        if name not in chosen and widths[name] + 2 <= left:
            chosen.add(name)
            left -= widths[name] + 2
    return [name for name in widths if name in chosen]


def _telling(frame: pd.DataFrame, always: Sequence[str]) -> list[str]:
    """Return the columns to show: those asked for, and settings in which runs differ."""
    settings = list(frame)[: list(frame).index("step") + 1]
    left_out = {*IDENTITY, *(["seed"] if len(set(frame["seed"])) == 1 else [])} - set(always)
    if all(frame["is_finished"]):
        left_out.add("is_finished")
    chosen = [n for n in frame if (n in always or n in settings) and n not in left_out]
    return [str(name) for name in chosen if any(frame[name].notna())]


def _text(value: Any) -> str:
    if value is None or value != value:  # only nan differs from itself
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    return str(value)


def _aligned(name: str, text: str, width: int) -> str:
    return text.ljust(width) if name == "folder" else text.rjust(width)


def column(frame: pd.DataFrame, name: str) -> str:
    """Return the column of this name; the last part of its dotted name is enough if it is unique.

    Rates of several scores mean those of the validation score.

    Raises:
        ValueError: there is none or more than one; the message names the nearest.
    """
    if name in frame:
        return name
    matches = [full for full in frame if str(full).endswith(f".{name}")]
    if f"validation.{name}" in matches:
        return f"validation.{name}"
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(f"several columns are called {name}: say {' or '.join(matches)}")
    ends = {str(full).rsplit(".", 1)[-1]: str(full) for full in frame}
    known = ends | {str(full): str(full) for full in frame}
    raise ValueError(f"runs have no column {name}{nearest(name, known)}")


def labels(folders: Sequence[str]) -> list[str]:
    """Return the folders without the path that all of them share."""
    parts = [Path(folder).parts for folder in folders]
    most = min(map(len, parts)) - 1
    shared = next((n for n in range(most) if len({part[n] for part in parts}) > 1), most)
    return ["/".join(part[shared:]) for part in parts]


def _meets(frame: pd.DataFrame, condition: str) -> pd.Series:
    match = CONDITION.fullmatch(condition)
    if match is None:
        raise ValueError(f"{condition!r} is no condition: write for example 'd_model>=128'")
    name, sign, value = match.groups()
    values = frame[column(frame, name)]
    wanted: Any = _number(value)
    if wanted is None:
        if sign not in ("=", "!="):
            raise ValueError(f"{condition!r} needs a number after {sign}")
        return OPERATORS[sign](values.astype(str), value)
    return OPERATORS[sign](pd.to_numeric(values, errors="coerce"), wanted)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _short(names: Sequence[str]) -> dict[str, str]:
    """Return each name's last part where no other name ends in it."""
    ends = [name.rsplit(".", 1)[-1] for name in names]
    return {
        name: end if ends.count(end) == 1 and not name.startswith("validation.") else name
        for name, end in zip(names, ends, strict=True)
    }

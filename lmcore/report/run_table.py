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
        frame = frame[_meets(frame, condition)]
    if sort is not None:
        frame = frame.sort_values(column(frame, sort), ascending=not descending, kind="stable")
    chosen = [runs[int(place)] for place in frame.index]
    out = runs_frame(chosen)
    out.insert(0, "folder", [str(run.folder) for run in chosen])
    return chosen, out


def shown(frame: pd.DataFrame) -> str:
    """Return the frame's most telling columns as text: what differs, length, loss and time."""
    first = list(frame).index("step") if "step" in frame else len(frame.columns)
    names = [
        name
        for place, name in enumerate(frame)
        if (place < first and name not in IDENTITY) or name in MEASURED
    ]
    table = frame[names].dropna(axis="columns", how="all")
    same = [n for n in ("seed", "is_finished") if n in table and table[n].nunique() == 1]
    if "is_finished" in same and not frame["is_finished"].all():
        same.remove("is_finished")
    table = table.drop(columns=same)
    return table.rename(columns=_short(list(table))).to_string(
        index=False, na_rep="-", float_format=lambda value: f"{value:.4g}"
    )


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

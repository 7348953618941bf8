"""metrics.jsonl: a record a line, each with a step, appended while a run trains.

No torch here, so that tables and plots load fast.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from lmcore.evaluation.score_types import read_score
from lmcore.files import from_json, naming, read_json, write_json, write_text

Record = dict[str, Any]

LINE = re.compile(
    rb'^\{"step": (0|[1-9]\d*)(?=[,}])[^{}\n]*+(?:\{[^{}\n]*+\}[^{}\n]*+)*+\}$', re.MULTILINE
)
"""A whole line as it is written: an object that begins with its step and closes what it opens."""

REMEDY = "it is not the record of one run; restore the file or train again"


class Records(Sequence[Record]):
    """The records of a metrics.jsonl, with scores as `Score` or `Answers`.

    The last one is there at once. The others are parsed when one of them is asked for, because a
    table of many runs needs none of them. That lines are whole and no step is missing is checked
    before.

    Raises:
        ValueError: the file is missing or damaged, or its steps are repeated, missing or out of
            order. Damage inside a line is found when the line is parsed.
    """

    def __init__(self, path: Path, log_every: int | None = 1):
        self.path = path
        content = _content(path)
        steps = _steps_at_a_glance(content)
        if steps is None:
            self._all = read_records(path)
            steps = steps_of(path, self._all)
        if log_every is not None:
            require_steps(path, steps, log_every)
        self._n = len(steps)
        last = content.rstrip(b"\n").rpartition(b"\n")[2]
        self._last = with_scores(_parsed(path, self._n, last)) if steps else None

    @cached_property
    def _all(self) -> list[Record]:
        return read_records(self.path)

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, place: int) -> Record: ...

    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...

    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        if place in (-1, self._n - 1) and self._last is not None:
            return self._last
        return self._all[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return f"{len(self)} records of {self.path}"


def read_metrics(path: Path) -> list[Record]:
    """Return the records in path, one from each line, as they are stored.

    Raises:
        ValueError: the file is missing or a line is damaged; the message names it.
    """
    lines = _content(path).splitlines()
    return [_parsed(path, number, line) for number, line in enumerate(lines, 1)]


def read_records(path: Path) -> list[Record]:
    """Return the records in path with their scores as objects.

    Raises:
        ValueError: the file is missing or a line is damaged; the message names it.
    """
    return [with_scores(record) for record in read_metrics(path)]


def with_scores(stored: Any) -> Any:
    """Return a stored record or outcome with the scores in it as objects."""
    if not isinstance(stored, dict):
        return stored
    return {name: read_score(value) for name, value in stored.items()}


def _content(path: Path) -> bytes:
    if not path.exists():
        raise ValueError(f"{path} is missing")
    return path.read_bytes()


def _parsed(path: Path, number: int, line: bytes) -> Any:
    try:
        return from_json(line)
    except ValueError:
        raise ValueError(f"{path} is damaged in line {number}") from None


def _steps_at_a_glance(content: bytes) -> list[int] | None:
    """Return the steps of lines that are whole, or None if a line is not written as usual."""
    steps = LINE.findall(content)
    n_lines = content.count(b"\n") + (not content.endswith(b"\n"))
    return [int(step) for step in steps] if len(steps) == n_lines else None


def check_steps(path: Path, records: Sequence[Any], every: int) -> None:
    """Check that steps rise and that none of those due every so many steps is missing.

    Raises:
        ValueError: the message names path and the steps.
    """
    require_steps(path, steps_of(path, records), every)


def steps_of(path: Path, records: Sequence[Any]) -> list[int]:
    """Return the step of each record.

    Raises:
        ValueError: a record has none; the message names its line.
    """
    steps: list[int] = []
    for number, record in enumerate(records, 1):
        step = record.get("step") if isinstance(record, dict) else None
        if type(step) is not int or step < 0:
            raise ValueError(f"{path} is damaged in line {number}: it has no step")
        steps.append(step)
    return steps


def require_steps(path: Path, steps: Sequence[int], every: int) -> None:
    """Raise ValueError unless steps rise and none of those due every so many is missing."""
    for before, after in itertools.pairwise(steps):
        if after <= before:
            problem = "repeats step" if after == before else f"goes back from step {before} to"
            raise ValueError(f"{path} {problem} {after}: {REMEDY}")
    end = first_missing(steps, every)
    if not steps or end <= steps[-1]:
        raise ValueError(f"{path} lacks step {end}: {REMEDY}")


def first_missing(steps: Sequence[int], every: int) -> int:
    """Return the first of the steps 0, every, 2 * every, ... that is not in steps."""
    present = set(steps)
    return next(step for step in itertools.count(0, every) if step not in present)


class JsonLines:
    """A file of one JSON object a line, each with a step, that a resumed run appends to.

    A resumed run repeats the steps after its checkpoint: what it adds first replaces the lines of
    the same and later steps. A hidden file next to it has the checksums of the latest `sync`s.
    """

    def __init__(self, path: Path):
        self.path, self._is_first = path, True
        self._sums, self._synced = path.with_name(f".{path.name}.sums.json"), []

    def add(self, *records: Record) -> None:
        """Append records, all of one step."""
        text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
        if not self._is_first:
            with naming(self.path), open(self.path, "a", encoding="utf-8", newline="\n") as file:
                file.write(text)
        elif records:
            self._is_first = False
            self._sums.unlink(missing_ok=True)
            earlier = [old for old in self.read() if old["step"] < records[0]["step"]]
            write_text(self.path, "".join(json.dumps(old) + "\n" for old in earlier) + text)

    def sync(self) -> None:
        """Wait until all lines so far are on the disk, and note their checksum."""
        if not self.path.exists():
            return
        with naming(self.path), open(self.path, "rb+") as file:
            os.fsync(file.fileno())
            content = file.read()
        sha256 = hashlib.sha256(content).hexdigest()
        self._synced = [*self._synced[-1:], {"bytes": len(content), "sha256": sha256}]
        write_json(self._sums, self._synced)

    def check(self) -> None:
        """Check the lines of the latest `sync`s, as far as they are still there.

        Raises:
            ValueError: they are others than those that were written.
        """
        try:
            synced = [(int(note["bytes"]), note["sha256"]) for note in read_json(self._sums)]
            content = self.path.read_bytes()
        except (OSError, KeyError, TypeError, ValueError):  # nothing to compare
            return
        for n_bytes, sha256 in synced:
            is_there = n_bytes <= len(content)
            if is_there and hashlib.sha256(content[:n_bytes]).hexdigest() != sha256:
                raise ValueError(f"{self.path} is damaged (its checksum differs)")

    def read(self) -> list[Record]:
        """Return the records before the first line that is cut off or damaged."""
        out = []
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_bytes().splitlines():
                record = _whole_record(line)
                if record is None:
                    break
                out.append(record)
        return out


def _whole_record(line: bytes) -> Record | None:
    """Return the record in a line, or None if it has none with a step."""
    try:
        record = from_json(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and type(record.get("step")) is int else None

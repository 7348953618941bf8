"""Run folders on disk: config, metrics, environment. No torch, so that tables and plots are quick.

A file appears whole or not at all: it is written beside its place and renamed into it.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

Config = TypeVar("Config")


class UnwritableError(OSError):
    """A file cannot be written; the message names it."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an error of the disk say which file it kept from being written.

    An error that names another file, such as one that is read meanwhile, is passed on as it is.
    """
    try:
        yield
    except UnwritableError:
        raise
    except OSError as error:
        if error.filename is not None and path.name not in str(error.filename):
            raise
        reason = error.strerror or error
        raise UnwritableError(
            f"{path} cannot be written ({reason}); nothing else was lost"
        ) from error


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a path to write to; it takes path's place when the block ends without an error."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            with open(beside, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write text to path as UTF-8, whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write value to path as indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Return what the JSON file at path holds.

    Raises:
        ValueError: the file is missing or damaged; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def from_dict(kind: type[Config], stored: Any) -> Config:
    """Return the dataclass kind with stored's values, lists turned back into tuples.

    A field that stored lacks takes its default, so a field added later must default to what was
    done before it existed.

    Raises:
        ValueError: stored has a field that kind does not know, or no fields at all.
    """
    if not isinstance(stored, dict):
        raise ValueError(f"{kind.__name__} is made from named values, not from {stored!r}")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(stored) - set(hints))
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {', '.join(unknown)}")
    return kind(**{name: _typed(hints[name], value) for name, value in stored.items()})


def _typed(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is UnionType and value is not None:
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        hint = next((option for option in options if _has_fields(option, value)), options[0])
    if dataclasses.is_dataclass(hint) and value is not None:
        return from_dict(hint, value)
    return tuple(value) if isinstance(value, list) else value


def _has_fields(kind: Any, stored: Any) -> bool:
    """Return whether kind is a dataclass that knows each of stored's names."""
    known = getattr(kind, "__dataclass_fields__", None)
    return known is not None and isinstance(stored, dict) and set(stored) <= set(known)


def check_choices(config: Any) -> None:
    """Raise ValueError if a field of config that has named choices holds something else."""
    for name, hint in typing.get_type_hints(type(config)).items():
        choices, value = typing.get_args(hint), getattr(config, name)
        if typing.get_origin(hint) is typing.Literal and value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def config_hash(config: Any) -> str:
    """Return a hash of the fields of a config that differ from their defaults.

    So a field added later, with a default that changes nothing, leaves old hashes as they were.
    """

    def told(value: Any) -> Any:
        if not dataclasses.is_dataclass(value):
            return list(value) if isinstance(value, tuple) else value
        fields = {f.name: (f, getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {name: told(v) for name, (f, v) in fields.items() if v != f.default}

    text = json.dumps(told(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run as read from its folder."""

    folder: Path
    config: Any
    metrics: list[dict[str, Any]]
    environment: dict[str, Any]
    outcome: dict[str, Any]


def load_run(folder: Path, kind: type) -> Run:
    """Return the run in folder, its config read as kind.

    Raises:
        ValueError: a file is missing or damaged, or the config's hash is not the one recorded.
    """
    stored = read_json(folder / "config.json")
    try:
        config = from_dict(kind, stored["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'} is not a config: {error}") from None
    if config_hash(config) != stored.get("hash"):
        raise ValueError(
            f"{folder / 'config.json'} was changed after its run: it says hash "
            f"{stored.get('hash')}, its values give {config_hash(config)}"
        )
    return Run(
        folder,
        config,
        read_metrics(folder / "metrics.jsonl"),
        read_json(folder / "environment.json"),
        read_json(folder / "outcome.json"),
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the records in path, one a line.

    Raises:
        ValueError: the file is missing or a line is damaged; the message names it.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing")
    out = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            out.append(json.loads(line))
        except ValueError:
            raise ValueError(f"{path} is damaged in line {number}") from None
    return out


class RunWriter:
    """Keeps a run under way in a scratch folder and moves it to the results once it is whole.

    A run taken up again appends to its metrics; records from after its checkpoint are written
    anew with the same numbers and replace the old ones.
    """

    def __init__(self, folder: Path, config: Any):
        self.folder, stored = folder, {"hash": config_hash(config)}
        path = folder / "config.json"
        if path.exists() and read_json(path).get("hash") != stored["hash"]:
            raise ValueError(
                f"{folder} holds an unfinished run of another config: delete it to start this one"
            )
        write_json(path, stored | {"config": dataclasses.asdict(config)})
        self._is_first = True

    def check_text(self, sha256: str) -> None:
        """Refuse to go on with a run that began on another text.

        Raises:
            ValueError: its text had another hash than sha256; the message names both.
        """
        path = self.folder / "environment.json"
        began = read_json(path).get("corpus", {}) if path.exists() else {}
        if began.get("text_sha256", sha256) != sha256:
            raise ValueError(
                f"{self.folder} began on the text {began['text_sha256'][:12]}, this one is "
                f"{sha256[:12]}: give it the same titles, or delete it to start again"
            )

    def note_session(self, facts: dict[str, Any]) -> None:
        """Add facts about a session that works on this run; a resumed run has several."""
        path = self.folder / "environment.json"
        earlier = read_json(path)["sessions"] if path.exists() else []
        self.note_environment({"sessions": [*earlier, facts]})

    def note_environment(self, facts: dict[str, Any]) -> None:
        """Add facts to the environment; what was noted before under the same name gives way."""
        path = self.folder / "environment.json"
        write_json(path, (read_json(path) if path.exists() else {}) | facts)

    def add(self, record: dict[str, Any]) -> None:
        """Append a record, dropping those of the same or later steps from before a restart."""
        line = json.dumps(record, allow_nan=False) + "\n"
        if self._is_first:
            self._is_first = False
            earlier = [old for old in self.kept_records() if old["step"] < record["step"]]
            line = "".join(json.dumps(old) + "\n" for old in earlier) + line
            write_text(self.folder / "metrics.jsonl", line)
        else:
            path = self.folder / "metrics.jsonl"
            with naming(path), open(path, "a", encoding="utf-8", newline="\n") as file:
                file.write(line)

    def kept_records(self) -> list[dict[str, Any]]:
        """Return what is recorded so far, up to a line that a kill cut short."""
        path = self.folder / "metrics.jsonl"
        out = []
        with contextlib.suppress(ValueError, FileNotFoundError):
            for line in path.read_text(encoding="utf-8").splitlines():
                out.append(json.loads(line))
        return out

    def finish(self, outcome: dict[str, Any], destination: Path) -> None:
        """Write the outcome and move the run's files to destination, checkpoints left behind."""
        write_json(self.folder / "outcome.json", outcome)
        destination.parent.mkdir(parents=True, exist_ok=True)
        whole = destination.with_name(f".{destination.name}.part")
        shutil.rmtree(whole, ignore_errors=True)
        shutil.copytree(self.folder, whole, ignore=shutil.ignore_patterns("checkpoints", ".*"))
        os.replace(whole, destination)

"""Files that appear whole or not at all: they are written under another name, then renamed."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class UnwritableError(OSError):
    """A file cannot be written; the message names it."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into an UnwritableError that names path.

    An error that names another file passes through unchanged.
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
    """Give a temporary path to write to; it replaces path when the block ends without an error."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with open(temporary, "rb+") as written:
                os.fsync(written.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write text to path as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


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

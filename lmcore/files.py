"""Files that appear whole or not at all: they are written under another name, then renamed.

Also JSON files, and checks of where and under which name something is about to be written.
"""

import contextlib
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LONGEST_NAME = 200
"""Bytes of a name that leave room for what temporary files and locks add to it."""
DEVICE_NAMES = {"CON", "PRN", "AUX", "NUL"} | {
    f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10)
}
"""Names that Windows keeps for devices."""
NOT_IN_NAMES = '/\\:*?"<>|'
"""Characters that separate folders, or that Windows does not allow in the name of a file."""


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


def require_file(path: str | Path) -> Path:
    """Return path, which must be that of a file: a folder, a pipe or a device has no end.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: it is something else than a file.
    """
    path = Path(path)
    if not path.exists():
        reason = "No such file; a text itself goes into a list"
        raise FileNotFoundError(errno.ENOENT, reason, str(path))
    if not path.is_file():
        what = "a folder" if path.is_dir() else "a pipe or a device"
        raise ValueError(f"{path} is {what}, not a file")
    return path


def write_text(path: str | Path, text: str) -> None:
    """Write text to path as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write value to path as indented JSON."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """Return the text of the file that `write_json` writes."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: str | Path) -> Any:
    """Return what the JSON file at path holds.

    Raises:
        ValueError: the file is missing or damaged; the message names it.
    """
    try:
        text = require_file(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    try:
        return from_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def from_json(text: str | bytes) -> Any:
    """Return what a JSON text holds.

    Raises:
        ValueError: it is no JSON, or nested deeper than Python reads.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its lists or objects are nested too deeply") from None


def read_object(path: str | Path) -> dict[str, Any]:
    """Return what the JSON file at path holds, which must be an object.

    Raises:
        ValueError: the file is missing, damaged, or holds something else; the message names it.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise ValueError(f"{path} is damaged: it holds a {type(value).__name__}, not an object")
    return value


def sha256_of(path: str | Path) -> str:
    """Return the hash of the file at path.

    Raises:
        ValueError: it can't be read; the message names it.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path} is missing or cannot be read ({error.strerror})") from None


def require_writable(folder: str | Path) -> None:
    """Make folder if it is missing and check that a file can be made in it.

    Raises:
        UnwritableError: it can't; the message names the folder.
    """
    folder = Path(folder)
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".", suffix=".0.part", dir=folder):
            pass


def require_folder(path: str | Path, purpose: str) -> None:
    """Raise ValueError if path or a part of it is a file; purpose says what the folder is for."""
    for place in (Path(path), *Path(path).parents):
        if place.exists():
            if not place.is_dir():
                raise ValueError(f"{place} is a file: name a folder {purpose}")
            return


def require_apart(outputs: Iterable[Path], sources: Iterable[str | Path]) -> None:
    """Raise ValueError if one of outputs would replace one of sources."""
    places = {os.path.realpath(source) for source in sources}
    for output in outputs:
        if os.path.realpath(output) in places:
            raise ValueError(
                f"{output} is a source text, and an output of this name would replace it: "
                "give the outputs another folder or name"
            )


def require_file_name(what: str, name: str) -> None:
    """Raise ValueError unless name can name a file or folder inside another folder."""
    problem = None
    if not name.strip():
        problem = "it is empty"
    elif name != name.strip() or name.startswith(".") or name.endswith("."):
        problem = "it begins or ends with a blank or a dot"
    elif any(character in NOT_IN_NAMES or not character.isprintable() for character in name):
        problem = f"it has a control character or one of {' '.join(NOT_IN_NAMES)}"
    elif name.split(".")[0].strip().upper() in DEVICE_NAMES:
        problem = "Windows has a device of this name"
    elif len(name.encode(errors="replace")) > LONGEST_NAME:
        problem = f"it is longer than {LONGEST_NAME} bytes"
    if problem:
        raise ValueError(f"{what} {name!r} cannot name a folder: {problem}")

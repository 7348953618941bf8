"""Checksums of a finished run's files, in a file that the program sha256sum reads too."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from lmcore.files import write_text

NAME = "SHA256SUMS"
REQUIRED = ("config.json", "metrics.jsonl", "environment.json", "outcome.json")
"""What every finished run has."""
SUMMED = (*REQUIRED, "samples.jsonl")


def write_sums(folder: Path, contents: Mapping[str, bytes] | None = None) -> None:
    """Write the checksums of a run's files to folder.

    contents are files by name that will be written next, so that the checksums are there first.
    """
    coming = contents or {}
    known = {
        name: coming[name] if name in coming else (folder / name).read_bytes()
        for name in SUMMED
        if name in coming or (folder / name).exists()
    }
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in known.items())
    write_text(folder / NAME, "".join(lines))


def check_sums(folder: Path) -> None:
    """Check a finished run's files against their checksums.

    Raises:
        ValueError: a file is missing or has another content; the message names it and says what
            helps.
    """
    remedy = f"restore it from a copy, or delete {folder} to train again"
    try:
        text = (folder / NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        missing = [name for name in REQUIRED if not (folder / name).exists()]
        if missing:
            raise ValueError(f"{folder / missing[0]} is missing: {remedy}") from None
        raise ValueError(
            f"{folder / NAME} is missing: restore it from a copy, or if an earlier version of "
            f"lmcore wrote the run, add it with python -m lmcore upgrade {folder}"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / NAME} is damaged ({error}): {remedy}") from None
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in text.split("\n"))}
    for name in (*REQUIRED, *(sums.keys() & set(SUMMED) - set(REQUIRED))):
        _check(folder / name, sums.get(name), remedy)


def _check(path: Path, expected: str | None, remedy: str) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: {remedy}") from None
    except OSError as error:
        raise ValueError(f"{path} is damaged ({error.strerror}): {remedy}") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise ValueError(f"{path} is damaged (its checksum is not that in {NAME}): {remedy}")

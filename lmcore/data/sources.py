"""Documents from text files, JSON lines, CSV, Parquet, compressed files, folders and hub data sets.

Documents come one at a time, so memory follows the longest one.
"""

import codecs
import csv
import gzip
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lmcore.boundary import convert_fields

BLOCK = 2**20
"""Characters read from a text file at a time."""

HUB = "hub:"
"""A source that begins with this names a data set on the Hugging Face hub."""

ROWS = (".jsonl", ".ndjson", ".csv", ".parquet")
COMPRESSED = (".gz", ".zst")
DocumentUnit = Literal["auto", "file", "line"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files become documents."""

    one_document_per: DocumentUnit = "auto"
    """What a document is in a text file: the whole file or one line of it. auto: what stands
    between two split_on, or the file if it has none. A row of JSON lines, CSV or Parquet is always
    a document.
    """
    split_on: str = "<|endoftext|>"
    """The text that separates documents in a text file; it belongs to none of them."""
    field: str = "text"
    """The field or column that holds the text in JSON lines, CSV and Parquet."""
    errors: Literal["strict", "replace", "ignore"] = "strict"
    """What to do with bytes that are not UTF-8: stop, put U+FFFD in their place, or drop them."""

    def __post_init__(self):
        convert_fields(self)
        if not self.split_on:
            raise ValueError("split_on must not be empty")


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A source with what tells its content from another."""

    name: str
    bytes: int | None
    sha256: str


def files_of(sources: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Return every file of sources: files as they are, folders as the files in them, sorted.

    Hidden files are left out of folders, and so are files that look binary.

    Raises:
        ValueError: there is no source, a path does not exist, or a folder has no text.
    """
    if isinstance(sources, str | Path):
        sources = [sources]
    if not sources:
        raise ValueError("no text was given: name at least one file, folder or hub data set")
    out: list[str | Path] = []
    for source in sources:
        if str(source).startswith(HUB):
            out.append(str(source))
            continue
        path = Path(source)
        if path.is_dir():
            out += _files_in(path)
        elif path.is_file():
            out.append(path)
        elif path.exists():
            raise ValueError(f"{path} is neither a file nor a folder")
        else:
            raise ValueError(f"{path} does not exist: name a file, a folder or hub:owner/name")
    return out


def _files_in(folder: Path) -> list[Path]:
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.stat().st_size
        and not (_kind(path)[0] not in ROWS and _is_binary(path))
    ]
    if not files:
        raise ValueError(f"{folder} holds no text file")
    return files


def described(files: Sequence[str | Path]) -> list[SourceFile]:
    """Return each file's name, size and hash; of a hub data set the revision is the hash."""
    return [_described(file) for file in files]


def _described(file: str | Path) -> SourceFile:
    if isinstance(file, str):
        name, revision = hub_revision(file)
        return SourceFile(name=f"{HUB}{name}", bytes=None, sha256=revision)
    with open(file, "rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return SourceFile(name=file.name, bytes=file.stat().st_size, sha256=digest)


def documents(
    files: Sequence[str | Path], reading: Reading | None = None, seen: Callable[[int], Any] = id
) -> Iterator[str]:
    """Yield the documents of files in order; those without a character are left out.

    After each document, seen is called with its number of characters.

    Raises:
        ValueError: a file is empty, binary, not UTF-8 or damaged; the message says what to do.
    """
    reading = reading or Reading()
    for file in files:
        is_empty = True
        for document in _documents_of(file, reading):
            if document.strip():
                is_empty = False
                seen(len(document))
                yield document
        if is_empty:
            raise ValueError(f"{file} is empty: there is no text in it")


def _documents_of(file: str | Path, reading: Reading) -> Iterator[str]:
    if isinstance(file, str):
        return _hub_documents(file, reading.field)
    kind, _ = _kind(file)
    if kind == ".parquet":
        return _parquet_documents(file, reading.field)
    if kind == ".csv":
        return _csv_documents(file, reading)
    if kind in (".jsonl", ".ndjson"):
        return _json_documents(file, reading)
    if _is_binary(file):
        with _opened(file) as content:
            is_utf16 = content.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        if is_utf16:
            raise ValueError(f"{file} is UTF-16: convert it with iconv -f utf-16 -t utf-8")
        raise ValueError(f"{file} looks binary: give text, JSON lines, CSV or Parquet")
    return _text_documents(file, reading)


def _kind(path: Path) -> tuple[str, str]:
    """Return the ending that says what a file holds, and the one of its compression."""
    ending = path.suffix.lower()
    if ending in COMPRESSED:
        return path.with_suffix("").suffix.lower(), ending
    return ending, ""


def _opened(path: Path) -> Any:
    """Open a file to be read as bytes, decompressed by its ending.

    Raises:
        ValueError: the library that reads this compression is not installed.
    """
    _, compression = _kind(path)
    if compression == ".gz":
        return gzip.open(path, "rb")
    if compression == ".zst":
        try:
            zstandard = importlib.import_module("zstandard")
        except ModuleNotFoundError:
            raise ValueError(
                f"{path} is compressed with Zstandard: pip install 'lmcore[zstandard]', or "
                "decompress it"
            ) from None
        return zstandard.open(path, "rb")
    return open(path, "rb")


def _is_binary(path: Path) -> bool:
    try:
        with _opened(path) as file:
            return b"\0" in file.read(8192)
    except Exception:  # decompression has errors of its own
        return False  # reading it gives the better message


def _blocks(path: Path, errors: str) -> Iterator[str]:
    """Yield a file's text in blocks, without a byte order mark.

    Raises:
        ValueError: the file is not UTF-8 or its compression is damaged.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")(errors)
    place = 0
    try:
        with _opened(path) as file:
            while block := file.read(BLOCK):
                text = decoder.decode(block)
                place += len(block)
                yield text
            yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        at = max(0, place - len(error.object) + error.start) if place else error.start
        raise ValueError(
            f"{path} is not UTF-8 (byte {error.object[error.start]:#04x} near {at:,}): convert it "
            "with iconv -t utf-8, or use --errors replace"
        ) from None
    except Exception as error:  # decompression has errors of its own, which may not be importable
        if not _kind(path)[1] or isinstance(error, ValueError | MemoryError):
            raise
        raise ValueError(f"{path} is damaged: {error}") from None


def _lines(path: Path, errors: str) -> Iterator[str]:
    """Yield a file's lines with their line breaks."""
    held = ""
    for block in _blocks(path, errors):
        *lines, held = (held + block).split("\n")
        for line in lines:
            yield f"{line}\n"
    if held:
        yield held


def _text_documents(path: Path, reading: Reading) -> Iterator[str]:
    if reading.one_document_per == "file":
        yield "".join(_blocks(path, reading.errors))
        return
    separator = "\n" if reading.one_document_per == "line" else reading.split_on
    held = ""
    for block in _blocks(path, reading.errors):
        *whole, held = (held + block).split(separator)
        for document in whole:
            yield _trimmed(document, reading)
    yield _trimmed(held, reading)


def _trimmed(document: str, reading: Reading) -> str:
    """Return a document without the line breaks next to its separator."""
    if reading.one_document_per == "line":
        return document.strip()
    return document.strip("\r\n")


def _json_documents(path: Path, reading: Reading) -> Iterator[str]:
    for number, line in enumerate(_lines(path, reading.errors), 1):
        if line.strip():
            yield _field_of_line(path, number, line, reading.field)


def _field_of_line(path: Path, number: int, line: str, field: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged in line {number}: {error}") from None
    names = ", ".join(row) if isinstance(row, dict) else type(row).__name__
    if not isinstance(row, dict) or field not in row:
        raise ValueError(
            f"{path} has no field {field!r} in line {number} ({names}): name it with --field"
        )
    return _require_text(row[field], f"{path}, line {number}, field {field!r}")


def _require_text(value: Any, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{where} holds {type(value).__name__} {value!r:.40}, not text")
    return value


def _csv_documents(path: Path, reading: Reading) -> Iterator[str]:
    csv.field_size_limit(2**31 - 1)  # a document is one field, and the default is 128 kB
    rows = csv.DictReader(_lines(path, reading.errors))
    try:
        if reading.field not in (rows.fieldnames or ()):
            names = ", ".join(rows.fieldnames or ())
            raise ValueError(
                f"{path} has no column {reading.field!r} ({names}): name it with --field"
            )
        for row in rows:
            yield row[reading.field] or ""
    except csv.Error as error:
        raise ValueError(f"{path} is damaged in line {rows.line_num}: {error}") from None


def _parquet_documents(path: Path, field: str) -> Iterator[str]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise ValueError(f"{path} is Parquet: pip install 'lmcore[data]' to read it") from None
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:  # pyarrow's own classes, which may not be importable here
        raise ValueError(f"{path} is damaged: {error}") from None
    names = file.schema_arrow.names
    if field not in names:
        raise ValueError(
            f"{path} has no column {field!r} ({', '.join(names)}): name it with --field"
        )
    for batch in file.iter_batches(columns=[field]):
        for value in batch.column(0).to_pylist():
            yield _require_text(value, f"{path}, column {field!r}")


# Hub data sets


def hub_parts(source: str) -> tuple[str, str | None, str]:
    """Return name, revision and split of a source such as hub:owner/name@revision:validation."""
    name, _, split = source.removeprefix(HUB).partition(":")
    name, _, revision = name.partition("@")
    if not name:
        raise ValueError(f"{source!r} names no data set: write hub:owner/name")
    return name, revision or None, split or "train"


def hub_revision(source: str) -> tuple[str, str]:
    """Return a hub data set's name and the commit that its revision stands for now.

    Raises:
        ValueError: the library or the network is missing, or there is no such data set.
    """
    name, revision, _ = hub_parts(source)
    hub = _hub_library("huggingface_hub", source)
    try:
        return name, hub.HfApi().dataset_info(name, revision=revision).sha
    except Exception as error:  # the library's errors have no common class but OSError's
        raise _hub_error(source, error) from None


def _hub_documents(source: str, field: str) -> Iterator[str]:
    name, revision = hub_revision(source)
    split = hub_parts(source)[2]
    datasets = _hub_library("datasets", source)
    try:
        rows = datasets.load_dataset(name, revision=revision, split=split, streaming=True)
        for row in rows:
            if field not in row:
                names = ", ".join(row)
                raise ValueError(
                    f"{source} has no column {field!r} ({names}): name it with --field"
                )
            yield _require_text(row[field], f"{source}, column {field!r}")
    except OSError as error:
        raise _hub_error(source, error) from None


def _hub_library(name: str, source: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ValueError(f"{source} needs {name}: pip install 'lmcore[data]'") from None


def _hub_error(source: str, error: Exception) -> ValueError:
    return ValueError(
        f"{source} cannot be fetched ({type(error).__name__}): check its name and the network, "
        "or give a local file"
    )

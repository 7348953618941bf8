"""Token files on disk, without torch, so that a program that writes them starts at once.

A token file is an .npy of unsigned integers that is mapped into memory. With it come an .npy of the
places where documents start, and a .json that names the text and the tokenizer of both, so that
tokens are never read with another tokenizer.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lmcore.config import from_dict
from lmcore.files import read_json, require_apart, whole_file, write_json
from lmcore.tokenizer.base import BaseTokenizer
from lmcore.tokenizer.pretokens import texts_in_blocks

HEADER_BYTES = 128
PLACES = "<i8"
"""The type of document starts. NumPy turns unsigned ones to floats in sums with signed ones."""


@dataclass(frozen=True, kw_only=True)
class TokenInfo:
    """What a token file holds.

    Documents end with the special token eos; if it is None, the text is one document. Characters
    and bytes include the text of each eos. Checksums are of the text, the ids and the document
    starts without their headers, which are compared directly.
    """

    tokenizer: str
    eos: str | None
    dtype: str
    n_tokens: int
    n_documents: int
    characters: int
    bytes: int
    text_sha256: str
    sha256: str
    documents_sha256: str


@dataclass(frozen=True, eq=False)
class Tokens:
    """A stream of token ids, the places where its documents start, and what it was made from."""

    ids: np.ndarray
    documents: np.ndarray
    info: TokenInfo


# Writing


class _Measure:
    """Counts and hashes a text as its parts are added."""

    def __init__(self):
        self.characters, self.bytes, self.sha256 = 0, 0, hashlib.sha256()

    def add(self, text: str) -> str:
        raw = text.encode()
        self.characters += len(text)
        self.bytes += len(raw)
        self.sha256.update(raw)
        return text


def header(dtype: str, n: int) -> bytes:
    """Return the header of an .npy of n numbers, of the same length for every n.

    NumPy does not write it, so that its bytes do not depend on NumPy's version: a file is complete
    only if they are equal.
    """
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({n},), }}"
    start = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    return start + text.ljust(HEADER_BYTES - 11).encode() + b"\n"


class _GrowingArray:
    """An .npy that arrays are appended to; its header is written at the end."""

    def __init__(self, file: BinaryIO, dtype: str):
        self.file, self.dtype, self.n, self.sha256 = file, dtype, 0, hashlib.sha256()
        file.write(bytes(HEADER_BYTES))

    def append(self, values: np.ndarray) -> None:
        raw = np.ascontiguousarray(values, self.dtype).data
        self.file.write(raw)
        self.sha256.update(raw)
        self.n += len(values)

    def finish(self) -> None:
        self.file.seek(0)
        self.file.write(header(self.dtype, self.n))


def documents_path(path: Path) -> Path:
    """Return the path of the document starts of the token file at path."""
    return path.with_suffix(".documents.npy")


def outputs(path: Path) -> list[Path]:
    """Return the paths of the token file at path, of its document starts and of its record."""
    return [path, documents_path(path), path.with_suffix(".json")]


def little_endian(dtype: np.dtype) -> str:
    """Return dtype's name in files, the same on every machine."""
    return np.dtype(dtype).newbyteorder("<").str


def write_documents(
    path: Path, documents: Iterable[str], tokenizer: BaseTokenizer, eos: str, prefix: str = ""
) -> TokenInfo:
    """Write the tokens of documents to path, each followed by the special token eos.

    Inside documents nothing counts as special. The prefix goes before each document and does not
    count as its text: with a blank, the first word is encoded like any other. Memory grows with the
    longest document. The file appears whole or not at all.
    """
    text, end = _Measure(), np.array([tokenizer.special_id(eos)], tokenizer.dtype)

    def prefixed() -> Iterator[str]:
        for document in documents:
            text.add(document + eos)
            yield prefix + document

    arrays = (np.append(ids, end) for ids in tokenizer.encode_many(prefixed(), "text"))
    return _write(path, arrays, text, tokenizer, eos)


def write_text(
    path: Path,
    source: Path,
    tokenizer: BaseTokenizer,
    eos: str | None = None,
    *,
    workers: int | None = None,
    errors: str = "strict",
) -> TokenInfo:
    """Write the tokens of the text file source to path; special tokens in it count as such.

    A document starts after each special token eos. Memory does not grow with the size of source,
    only with workers, the threads that encode: by default one for each core. The result does not
    depend on them. Bytes that are not UTF-8 are treated as errors says, as in `bytes.decode`; the
    record is of the text after that.

    Raises:
        ValueError: source is not UTF-8, and errors is "strict"; the message names the first byte.
            Or an output would replace source.
    """
    require_apart(outputs(path), [source])
    text = _Measure()
    [blocks] = texts_in_blocks(source, errors)
    chunks = map(text.add, blocks)
    ids = tokenizer.encode_chunks(chunks, workers=workers or os.cpu_count() or 1)
    return _write(path, ids, text, tokenizer, eos)


def tokens_of_file(
    path: Path, source: Path, tokenizer: BaseTokenizer, eos: str | None = None
) -> Tokens:
    """Return the tokens of the text file source, written to path unless they are there already.

    They are if they load, checksums included, and their record names this text, tokenizer and eos.
    Otherwise they are written again: an incomplete or damaged file is never taken for a token file.

    Raises:
        ValueError: an output would replace source, or as in `write_text`.
    """
    require_apart(outputs(path), [source])
    with open(source, "rb") as file:
        text_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        tokens = load_tokens(path, tokenizer)
        if (tokens.info.text_sha256, tokens.info.eos) == (text_sha256, eos):
            return tokens
    except ValueError:
        pass  # missing, damaged, or of another tokenizer
    write_text(path, source, tokenizer, eos)
    return load_tokens(path, tokenizer)


def _write(
    path: Path,
    arrays: Iterable[np.ndarray],
    text: _Measure,
    tokenizer: BaseTokenizer,
    eos: str | None,
) -> TokenInfo:
    """Write arrays and the document starts, and last the record, which makes it a token file."""
    eos_id = -1 if eos is None else tokenizer.special_id(eos)
    record = path.with_suffix(".json")
    with whole_file(documents_path(path)) as places_path, whole_file(path) as ids_path:
        with open(ids_path, "wb") as ids_file, open(places_path, "wb") as places_file:
            ids = _GrowingArray(ids_file, little_endian(tokenizer.dtype))
            places, is_between = _GrowingArray(places_file, PLACES), True
            for array in arrays:
                after = np.flatnonzero(array == eos_id) + 1
                starts = [0] * is_between + after.tolist()
                is_between = bool(starts) and starts[-1] == len(array)
                places.append(ids.n + np.array(starts[: len(starts) - is_between], dtype=np.int64))
                ids.append(array)
            ids.finish()
            places.finish()
        record.unlink(missing_ok=True)  # an older one describes the files that are replaced here
    info = TokenInfo(
        tokenizer=tokenizer.fingerprint,
        eos=eos,
        dtype=ids.dtype,
        n_tokens=ids.n,
        n_documents=places.n,
        characters=text.characters,
        bytes=text.bytes,
        text_sha256=text.sha256.hexdigest(),
        sha256=ids.sha256.hexdigest(),
        documents_sha256=places.sha256.hexdigest(),
    )
    write_json(record, asdict(info) | {"record_sha256": _record_sha256(info)})
    return info


def _record_sha256(info: TokenInfo) -> str:
    return hashlib.sha256(json.dumps(asdict(info)).encode()).hexdigest()


# Reading


def load_tokens(
    path: Path,
    tokenizer: BaseTokenizer,
    *,
    verify: bool = True,
    remedy: str = "encode its text again",
) -> Tokens:
    """Return the tokens at path, mapped into memory and checked against record and tokenizer.

    The record's checksum, headers and sizes are always checked. With verify, the whole file is
    read, and its checksums and ids are checked too. remedy is what an error advises.

    Raises:
        ValueError: a file is missing or damaged, or another tokenizer made it.
    """
    try:
        return _load(path, tokenizer, verify)
    except ValueError as error:
        raise ValueError(f"{error}: {remedy}") from None


def _load(path: Path, tokenizer: BaseTokenizer, verify: bool) -> Tokens:
    info = _read_info(path.with_suffix(".json"))
    if info.tokenizer != tokenizer.fingerprint:
        raise ValueError(
            f"{path} was made by tokenizer {info.tokenizer}, not by {tokenizer.fingerprint}"
        )
    ids = _mapped(path, info.dtype, info.n_tokens)
    documents = _mapped(documents_path(path), PLACES, info.n_documents)
    if verify:
        _require_sum(path, ids, info.sha256)
        _require_sum(documents_path(path), documents, info.documents_sha256)
        if len(ids) and ids.max() >= tokenizer.vocab_size:
            raise ValueError(
                f"{path} is damaged (id {ids.max()} is beyond the vocabulary of "
                f"{tokenizer.vocab_size})"
            )
    return Tokens(ids, documents, info)


def _read_info(record: Path) -> TokenInfo:
    stored = read_json(record)
    try:
        checksum = stored.pop("record_sha256")
        info = from_dict(TokenInfo, stored)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{record} is not the record of a token file ({error})") from None
    if checksum != _record_sha256(info):
        raise ValueError(f"{record} is damaged (its checksum differs)")
    return info


def _mapped(path: Path, dtype: str, n: int) -> np.ndarray:
    """Return the n numbers in the .npy at path, mapped into memory."""
    try:
        with open(path, "rb") as file:
            start, size = file.read(HEADER_BYTES), file.seek(0, 2)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    whole = HEADER_BYTES + n * np.dtype(dtype).itemsize
    if size != whole or start != header(dtype, n):
        what = f"{size} bytes, not {whole}" if size != whole else "its header differs"
        raise ValueError(f"{path} is damaged ({what})")
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def _require_sum(path: Path, array: np.ndarray, sha256: str) -> None:
    if hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() != sha256:
        raise ValueError(f"{path} is damaged (its checksum differs)")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A token's document, its position there, and the text of the document."""

    document: int
    offset: int
    text: str


def locate(tokens: Tokens, position: int, tokenizer: BaseTokenizer) -> Place:
    """Return the place of the token at position.

    Raises:
        ValueError: position is beyond the tokens.
    """
    if not 0 <= position < len(tokens.ids):
        raise ValueError(f"position {position} is outside the {len(tokens.ids)} tokens")
    number = int(np.searchsorted(tokens.documents, position, side="right")) - 1
    start, *following = tokens.documents[number : number + 2].tolist()
    text = tokenizer.decode(tokens.ids[start : following[0] if following else None])
    return Place(document=number, offset=position - start, text=text)

"""Token files on disk and batches from them.

A token file is an .npy of unsigned integers that is mapped, not read. Beside it stand an .npy of
where documents begin and a .json that says which text and which tokenizer made both, so that tokens
are never read with another one.
"""

import codecs
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Literal, get_args

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lmcore.records import from_dict, read_json, whole_file, write_json
from lmcore.tokenizer import BaseTokenizer

HEADER_BYTES = 128
PLACES = "<i8"
"""The type of places where documents begin; unsigned ones turn to floats beside others."""


@dataclass(frozen=True, kw_only=True)
class TokenInfo:
    """What a token file is made of; characters and bytes count each <eos> as the text it is.

    Checksums are of the text, the ids and the documents' places, without headers: those are
    compared as they are.
    """

    tokenizer: str
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
    """A stream of token ids, where its documents begin, and the size of the text it stands for."""

    ids: np.ndarray
    documents: np.ndarray
    info: TokenInfo


# Writing


class _Measure:
    """Counts and hashes a text that passes by."""

    def __init__(self):
        self.characters, self.bytes, self.sha256 = 0, 0, hashlib.sha256()

    def add(self, text: str) -> str:
        raw = text.encode()
        self.characters += len(text)
        self.bytes += len(raw)
        self.sha256.update(raw)
        return text


def header(dtype: str, n: int) -> bytes:
    """Return the head of an .npy of n numbers, as long for every n.

    It is written here so that its bytes do not depend on the version of NumPy: a file is known to
    be whole by comparing them.
    """
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({n},), }}"
    start = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    return start + text.ljust(HEADER_BYTES - 11).encode() + b"\n"


class _GrowingArray:
    """An .npy that arrays are appended to; its header is known at the end."""

    def __init__(self, file: BinaryIO, dtype: str):
        self.file, self.dtype, self.n, self.sha256 = file, dtype, 0, hashlib.sha256()
        file.write(bytes(HEADER_BYTES))

    def append(self, values: np.ndarray) -> None:
        raw = values.astype(self.dtype).tobytes()
        self.file.write(raw)
        self.sha256.update(raw)
        self.n += len(values)

    def finish(self) -> None:
        self.file.seek(0)
        self.file.write(header(self.dtype, self.n))


def documents_path(path: Path) -> Path:
    """Return where the places of the documents of the token file at path are kept."""
    return path.with_suffix(".documents.npy")


def little_endian(dtype: np.dtype) -> str:
    """Return the name of dtype in files, the same on every machine."""
    return np.dtype(dtype).newbyteorder("<").str


def write_documents(
    path: Path, documents: Iterable[str], tokenizer: BaseTokenizer, end: str, prefix: str = ""
) -> TokenInfo:
    """Write the tokens of documents to path, each closed by the special token end.

    What documents spell is never special. A prefix goes before each and is not counted as its
    text: a blank makes a document's first word a word like any other. Memory follows the longest
    document; the file appears whole or not at all.
    """
    text = _Measure()

    def arrays() -> Iterator[np.ndarray]:
        for document in documents:
            yield tokenizer.encode_documents([prefix + document], end)
            text.add(document + end)

    return _write(path, arrays(), text, tokenizer, end)


def write_text(
    path: Path, source: Path, tokenizer: BaseTokenizer, end: str | None = None
) -> TokenInfo:
    """Write the tokens of the text file source to path; special tokens in it count as such.

    Documents begin after each special token end. Memory does not follow the size of source.

    Raises:
        ValueError: source is not UTF-8.
    """
    text = _Measure()
    ids = tokenizer.encode_chunks(map(text.add, text_chunks(source)))
    return _write(path, ids, text, tokenizer, end)


def tokens_of_file(
    path: Path, source: Path, tokenizer: BaseTokenizer, end: str | None = None
) -> Tokens:
    """Return the tokens of the text file source, written to path unless they are there already.

    They are there if they load and their record names this text and this tokenizer. Writing that
    was killed begins again: what it left is never taken for a token file.
    """
    with open(source, "rb") as file:
        text_sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        tokens = load_tokens(path, tokenizer)
        if tokens.info.text_sha256 == text_sha256:
            return tokens
    except ValueError:
        pass  # missing, damaged or another's: made anew
    write_text(path, source, tokenizer, end)
    return load_tokens(path, tokenizer)


def text_chunks(source: Path, n_bytes: int = 2**20) -> Iterator[str]:
    """Yield the text of a file in pieces, line ends as they are.

    Raises:
        ValueError: the file is not UTF-8; the message names the first byte that is not.
    """
    decoder, read = codecs.getincrementaldecoder("utf-8")(), 0
    with open(source, "rb") as file:
        while True:
            block, waiting = file.read(n_bytes), len(decoder.getstate()[0])
            try:
                yield decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                place, value = read - waiting + error.start, error.object[error.start]
                raise ValueError(
                    f"{source} is not UTF-8 (byte {place} is {value:#04x}): "
                    "convert it, for example with iconv -t utf-8"
                ) from None
            read += len(block)
            if not block:
                return


def _write(
    path: Path,
    arrays: Iterable[np.ndarray],
    text: _Measure,
    tokenizer: BaseTokenizer,
    end: str | None,
) -> TokenInfo:
    """Write what arrays hold, then the record without which it is no token file."""
    end_id = -1 if end is None else tokenizer.special_id(end)
    record = path.with_suffix(".json")
    with whole_file(path) as ids_path, whole_file(documents_path(path)) as places_path:
        with open(ids_path, "wb") as ids_file, open(places_path, "wb") as places_file:
            ids = _GrowingArray(ids_file, little_endian(tokenizer.dtype))
            places, is_between = _GrowingArray(places_file, PLACES), True
            for array in arrays:
                after = np.flatnonzero(array == end_id) + 1
                begins = [0] * is_between + after.tolist()
                is_between = bool(begins) and begins[-1] == len(array)
                places.append(ids.n + np.array(begins[: len(begins) - is_between], dtype=np.int64))
                ids.append(array)
            ids.finish()
            places.finish()
        record.unlink(missing_ok=True)  # an older one would speak of the files that now go
    info = TokenInfo(
        tokenizer=tokenizer.fingerprint,
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


def load_tokens(path: Path, tokenizer: BaseTokenizer, *, verify: bool = False) -> Tokens:
    """Return the tokens at path, mapped into memory, checked against record and tokenizer.

    The record's own checksum, headers and sizes are always checked, whatever the file's length;
    verify reads all of it and checks each id too.

    Raises:
        ValueError: a file is missing or damaged, or another tokenizer made it; the message names
            it and what to do.
    """
    info = _read_info(path.with_suffix(".json"))
    if info.tokenizer != tokenizer.fingerprint:
        raise ValueError(
            f"{path} was made by tokenizer {info.tokenizer}, not by {tokenizer.fingerprint}: "
            "their ids mean different text"
        )
    ids = _mapped(path, info.dtype, info.n_tokens)
    documents = _mapped(documents_path(path), PLACES, info.n_documents)
    if verify:
        _require_sum(path, ids, info.sha256)
        _require_sum(documents_path(path), documents, info.documents_sha256)
        if len(ids) and ids.max() >= tokenizer.vocab_size:
            raise ValueError(
                f"{path} is damaged (id {ids.max()} is beyond the vocabulary of "
                f"{tokenizer.vocab_size}): delete it and run again"
            )
    return Tokens(ids, documents, info)


def _read_info(record: Path) -> TokenInfo:
    stored = read_json(record)
    try:
        checksum = stored.pop("record_sha256")
        info = from_dict(TokenInfo, stored)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{record} is no record of tokens ({error}): delete it and run again"
        ) from None
    if checksum != _record_sha256(info):
        raise ValueError(f"{record} is damaged (its checksum differs): delete it and run again")
    return info


def _mapped(path: Path, dtype: str, n: int) -> np.ndarray:
    """Return the n numbers in the .npy at path, read as they are used."""
    try:
        with open(path, "rb") as file:
            start, size = file.read(HEADER_BYTES), file.seek(0, 2)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: run again to make it") from None
    whole = HEADER_BYTES + n * np.dtype(dtype).itemsize
    if size != whole or start != header(dtype, n):
        what = f"{size} bytes, not {whole}" if size != whole else "its header differs"
        raise ValueError(f"{path} is damaged ({what}): delete it and run again")
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def _require_sum(path: Path, array: np.ndarray, sha256: str) -> None:
    if hashlib.sha256(array).hexdigest() != sha256:
        raise ValueError(f"{path} is damaged (its checksum differs): delete it and run again")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a token stands: in which document, how many tokens into it, and that one's text."""

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
    begin, *rest = tokens.documents[number : number + 2].tolist()
    text = tokenizer.decode(tokens.ids[begin : rest[0] if rest else None])
    return Place(document=number, offset=position - begin, text=text)


# Batches

Order = Literal["sequential", "uniform", "shuffled", "documents"]
Batch = tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]


class Batches:
    """Batches by step: number k is a function of the tokens, the order and the seed alone.

    So a step is all that has to be saved to go on. Orders: sequential walks through the tokens;
    uniform draws each row's start from all that are possible, with replacement; shuffled takes
    each window of context_length once an epoch; documents puts whole documents end to end in an
    order of its own for each epoch and walks through them. An epoch leaves out what does not fill
    a batch. Memory is 8 bytes for each window that is shuffled, 24 for each document.
    """

    def __init__(
        self,
        tokens: Tokens,
        batch_size: int,
        context_length: int,
        order: Order = "sequential",
        seed: int = 0,
    ):
        if order not in get_args(Order):
            raise ValueError(f"order is {order!r}: take one of {', '.join(get_args(Order))}")
        self.tokens, self.order, self.seed = tokens, order, seed
        self.batch_size, self.context_length = batch_size, context_length
        self.steps_per_epoch: int | None = None
        if order != "uniform":
            self.steps_per_epoch = batches_per_epoch(len(tokens.ids), batch_size, context_length)
        elif len(tokens.ids) <= context_length:
            raise ValueError(
                f"{len(tokens.ids)} tokens are not more than context_length {context_length}"
            )
        self._shuffled: tuple = (None,)

    def positions(self, step: int) -> Int[np.ndarray, "batch span"]:
        """Return the places in the tokens that batch number step reads."""
        if self.order == "uniform":
            rng = np.random.default_rng([self.seed, step])
            starts = rng.integers(len(self.tokens.ids) - self.context_length, size=self.batch_size)
            return starts[:, None] + np.arange(self.context_length + 1)
        epoch, index = divmod(step, self.steps_per_epoch)
        windows = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        if self.order == "shuffled":
            windows = self._windows(epoch)[windows]
        places = window_positions(windows, self.context_length)
        return self._in_documents(epoch, places) if self.order == "documents" else places

    def batch(self, step: int) -> Batch:
        """Return (x, y) number step, from 0 on; y is x one token later."""
        return take(self.tokens.ids, self.positions(step))

    def documents(self, step: int) -> Int[Tensor, "batch seq"]:
        """Return for each token of x in batch number step the number of its document."""
        places = self.positions(step)[:, :-1]
        return torch.from_numpy(np.searchsorted(self.tokens.documents, places, side="right") - 1)

    def _windows(self, epoch: int) -> np.ndarray:
        """Return the epoch's order of windows; the last one asked for is kept."""
        if self._shuffled[0] != epoch:
            n_windows = (len(self.tokens.ids) - 1) // self.context_length
            rng = np.random.default_rng([self.seed, epoch])
            self._shuffled = epoch, rng.permutation(n_windows)
        return self._shuffled[1]

    def _in_documents(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Return where in the tokens the places of the epoch's order of documents are."""
        if self._shuffled[0] != epoch:
            begins = self.tokens.documents
            lengths = np.diff(begins, append=len(self.tokens.ids))
            order = np.random.default_rng([self.seed, epoch]).permutation(len(begins))
            ends = np.cumsum(lengths[order])
            self._shuffled = epoch, ends, begins[order] + lengths[order] - ends
        _, ends, shifts = self._shuffled
        return places + shifts[np.searchsorted(ends, places, side="right")]


def window_positions(
    windows: Int[np.ndarray, "batch"], context_length: int
) -> Int[np.ndarray, "batch span"]:
    """Return the places that windows by number read, the target after the last input included."""
    return windows[:, None] * context_length + np.arange(context_length + 1)


def take(ids: np.ndarray, positions: Int[np.ndarray, "batch span"]) -> Batch:
    """Return (x, y) of ids at positions; y is x one place later. Nothing else is copied."""
    rows = torch.from_numpy(ids[positions].astype(np.int64))
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def batches_per_epoch(n_tokens: int, batch_size: int, context_length: int) -> int:
    """Return how many whole batches n_tokens fill, each token a target at most once.

    Raises:
        ValueError: not even one.
    """
    n = (n_tokens - 1) // (batch_size * context_length)
    if n < 1:
        raise ValueError(
            f"{n_tokens} tokens do not fill one batch of {batch_size} x {context_length}: "
            "take more text or a smaller batch_size"
        )
    return n


def to_device(batch: Sequence[Tensor], device: str | torch.device) -> list[Tensor]:
    """Return the tensors of batch on device; to a GPU they go pinned, while the CPU goes on.

    Raises:
        ValueError: torch knows or sees no such device.
    """
    try:
        device = torch.device(device)
    except RuntimeError:
        raise ValueError(f"unknown device {device!r}: take cpu or cuda") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device {device} was asked for, but torch sees no GPU here")
        return [tensor.pin_memory().to(device, non_blocking=True) for tensor in batch]
    return [tensor.to(device) for tensor in batch]


def scoring_windows(
    ids: np.ndarray, context_length: int, rows: int, start_id: int
) -> Iterator[tuple[Int[Tensor, "rows seq"], Int[Tensor, "rows seq"]]]:
    """Yield (x, y) so that each token of ids is a target exactly once, the first after start_id.

    Windows do not overlap; all but the last are full, and the last is as short as the rest is.
    """
    whole = len(ids) // context_length * context_length
    cuts = [*range(0, whole, rows * context_length), whole]
    for start, stop in [*pairwise(cuts), *([(whole, len(ids))] if whole < len(ids) else [])]:
        y = torch.from_numpy(ids[start:stop].astype(np.int64))
        before = int(ids[start - 1]) if start else start_id
        x = torch.cat([torch.tensor([before]), y[:-1]])
        width = min(context_length, stop - start)
        yield x.view(-1, width), y.view(-1, width)

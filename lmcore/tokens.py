"""Token files on disk and batches from them.

A token file is an .npy of unsigned integers with a .json beside it that says which tokenizer made
it, so that tokens are never read with another one.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lmcore.records import from_dict, read_json, whole_file, write_json
from lmcore.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenInfo:
    """What a token file is made of; characters and bytes count each <eos> as the text it is.

    The checksum is the whole file's, header included: another byte order would give other ids.
    """

    tokenizer: str
    n_tokens: int
    characters: int
    bytes: int
    sha256: str


@dataclass(frozen=True, eq=False)
class Tokens:
    """A stream of token ids with the size of the text it stands for."""

    ids: np.ndarray
    info: TokenInfo


def smallest_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    """Return uint16 where every id fits in it, else uint32."""
    return np.uint16 if vocab_size <= 2**16 else np.uint32


def write_tokens(path: Path, ids: np.ndarray, text: str, tokenizer: Tokenizer) -> None:
    """Write ids, the tokens of text, to path (.npy) and what they are beside it (.json)."""
    file = io.BytesIO()
    np.save(file, ids.astype(smallest_dtype(tokenizer.vocab_size)), allow_pickle=False)
    info = TokenInfo(
        tokenizer=tokenizer.fingerprint,
        n_tokens=len(ids),
        characters=len(text),
        bytes=len(text.encode()),
        sha256=hashlib.sha256(file.getvalue()).hexdigest(),
    )
    with whole_file(path) as beside:
        beside.write_bytes(file.getvalue())
    write_json(path.with_suffix(".json"), asdict(info))


def load_tokens(path: Path, tokenizer: Tokenizer) -> Tokens:
    """Return the tokens at path, checked against their record and the tokenizer.

    Raises:
        ValueError: the file is damaged, or another tokenizer made it; the message names both.
    """
    record = path.with_suffix(".json")
    stored = read_json(record)
    try:
        info = from_dict(TokenInfo, stored)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{record} is no record of tokens ({error})") from None
    if info.tokenizer != tokenizer.fingerprint:
        raise ValueError(
            f"{path} was made by tokenizer {info.tokenizer}, not by {tokenizer.fingerprint}: "
            "their ids mean different text"
        )
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path} is missing: run again to make it") from None
    if hashlib.sha256(raw).hexdigest() != info.sha256:
        raise ValueError(f"{path} is damaged (its checksum differs): delete it and run again")
    return Tokens(np.load(io.BytesIO(raw), allow_pickle=False), info)


def sequential_batch(
    ids: np.ndarray, step: int, batch_size: int, context_length: int
) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    """Return (x, y) number step of a walk through ids in order; y is x one token later.

    After the last full batch the walk starts again at the first token.

    Raises:
        ValueError: ids do not fill one batch.
    """
    span = batch_size * context_length
    start = step % batches_per_epoch(len(ids), batch_size, context_length) * span
    stream = torch.from_numpy(ids[start : start + span + 1].astype(np.int64))
    shape = (batch_size, context_length)
    return stream[:-1].view(shape), stream[1:].view(shape)


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


def scoring_windows(
    ids: np.ndarray, context_length: int, rows: int, start_id: int
) -> Iterator[tuple[Int[Tensor, "rows seq"], Int[Tensor, "rows seq"]]]:
    """Yield (x, y) so that each token of ids is a target exactly once, the first after start_id.

    Windows do not overlap; all but the last are full, and the last is as short as the rest is.
    """
    targets = torch.from_numpy(ids.astype(np.int64))
    inputs = torch.cat([torch.tensor([start_id]), targets[:-1]])
    whole = len(ids) // context_length * context_length
    if whole:
        x, y = (part[:whole].view(-1, context_length) for part in (inputs, targets))
        yield from zip(x.split(rows), y.split(rows), strict=True)
    if whole < len(ids):
        yield inputs[None, whole:], targets[None, whole:]

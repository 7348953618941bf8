"""What all byte-level tokenizers share: special tokens, streams, decoding, files."""

import codecs
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import index
from pathlib import Path
from typing import Any, Literal, SupportsIndex, cast, get_args

import numpy as np

from lmcore.boundary import checked, converted
from lmcore.files import from_json, require_file, write_json
from lmcore.tokenizer.encoder import BATCH, NO_SPECIALS
from lmcore.tokenizer.hf_files import NotUnderstoodError, symbols
from lmcore.tokenizer.pretokens import SAFE_CUTS, compiled_pattern, in_threads
from lmcore.tokenizer.specials import SpecialTokens, distinct

Special = Literal["allow", "text", "forbid"]
"""What a special token in a text becomes: its id, the tokens of its letters, or an error."""

STREAM_CHUNK = 2**14
"""Characters that a stream collects before it encodes them, once it has given its first ids."""


def smallest_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    """Return uint16 where every id fits in it, else uint32."""
    return np.uint16 if vocab_size <= 2**16 else np.uint32


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token: its bytes, its text if they are whole characters, and how files write it."""

    id: int
    bytes: bytes
    text: str | None
    written: str
    note: str


class BaseTokenizer(ABC):
    """A byte-level tokenizer. A subclass encodes plain text and reads and writes its files.

    Special tokens that vocab lacks get the next free ids. Ids may have any order.
    """

    def __init__(self, vocab: dict[int, bytes], special_tokens: Iterable[str] | None, pattern: str):
        self.vocab, self.pattern = dict(vocab), pattern
        self.special_tokens: dict[str, int] = {}
        self._ids = {token: id for id, token in sorted(self.vocab.items(), reverse=True)}
        for special in distinct(special_tokens or ()):
            id = self._ids.setdefault(special.encode(), max(self.vocab, default=-1) + 1)
            self.vocab[id] = special.encode()
            self.special_tokens[special] = id
        for id in (min(self.vocab, default=0), max(self.vocab, default=0)):
            if not 0 <= id < 2**32:
                raise ValueError(f"id {id} is outside 0 to 2**32 - 1")
        compiled_pattern(pattern)  # complains if it is none

    @abstractmethod
    def _encode_plain(self, texts: list[str]) -> list[np.ndarray]:
        """Return the ids of each text, without special tokens. Threads may call this."""

    @abstractmethod
    def _json(self) -> str:
        """Return everything that ids depend on."""

    @abstractmethod
    def _stored(self) -> dict[str, Any]:
        """Return the content of tokenizer.json."""

    @classmethod
    @abstractmethod
    def _from_stored(cls, stored: Any) -> "BaseTokenizer":
        """Return the tokenizer of a tokenizer.json with this content."""

    @cached_property
    def _specials(self) -> SpecialTokens:
        return SpecialTokens(self.special_tokens)

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """Return what the constructor takes to make this tokenizer again."""

    def __reduce__(self) -> tuple:
        """Pickle what the tokenizer is made of and no caches, so that use does not change it."""
        return _rebuilt, (type(self), self._arguments())

    @cached_property
    def vocab_size(self) -> int:
        """The largest id plus one: the rows that an embedding needs."""
        return max(self.vocab) + 1

    @cached_property
    def dtype(self) -> np.dtype:
        """The smallest unsigned type that holds every id."""
        return np.dtype(smallest_dtype(self.vocab_size))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that ids depend on. Token files name their tokenizer by it."""
        return hashlib.sha256(self._json().encode()).hexdigest()[:16]

    @checked
    def special_id(self, special: str) -> int:
        """Return the id of a special token.

        Raises:
            ValueError: this tokenizer does not have it.
        """
        if special not in self.special_tokens:
            known = ", ".join(map(repr, self.special_tokens)) or "none"
            raise ValueError(f"{special!r} is not a special token here; there are: {known}")
        return self.special_tokens[special]

    def encode(self, text: str, special: Special = "allow") -> list[int]:
        """Return the ids of text. Of overlapping special tokens, the longest one counts.

        Raises:
            ValueError: the text has a lone surrogate, which has no bytes, or a forbidden special
                token.
        """
        return self.encode_array(text, special).tolist()

    def encode_array(self, text: str, special: Special = "allow") -> np.ndarray:
        """Return the ids of text as an array; see `encode`."""
        if type(text) is not str:  # not `checked`: for a title that would take as long as its ids
            text = converted("text", text, str)
        return self._encode([(text, 0)], special)[0]

    @checked
    def encode_batch(
        self, texts: Iterable[str], special: Special = "allow", workers: int | None = None
    ) -> list[list[int]]:
        """Return the ids of each text; see `encode_many`."""
        return [ids.tolist() for ids in self.encode_many(texts, special, workers)]

    @checked
    def encode_many(
        self, texts: Iterable[str], special: Special = "allow", workers: int | None = None
    ) -> Iterator[np.ndarray]:
        """Yield the ids of each text in an array, in order; see `encode`.

        The threads, workers of them or one for each core, take some texts at a time.
        """

        def batches() -> Iterator[list[tuple[str, int]]]:
            batch, size = [], 0
            for text in texts:
                batch.append((text, 0))
                size += len(text)
                if size >= BATCH:
                    yield batch
                    batch, size = [], 0
            if batch:
                yield batch

        encode = partial(self._encode, special=special)
        for encoded in in_threads(encode, batches(), workers or os.cpu_count() or 1):
            yield from encoded

    @checked
    def encode_iterable(self, chunks: Iterable[str], special: Special = "allow") -> Iterator[int]:
        """Yield the ids of the joined chunks, which do not depend on where the text is cut.

        Ids come as soon as no further text can change them. With GPT-2's pattern this holds back
        the text since the last blank after a non-blank; with an unknown pattern, all text since the
        last special token.
        """
        for ids in self.encode_chunks(chunks, special):
            yield from ids.tolist()

    @checked
    def encode_chunks(
        self, chunks: Iterable[str], special: Special = "allow", workers: int = 1
    ) -> Iterator[np.ndarray]:
        """Yield the ids of `encode_iterable` in arrays. Several workers read a few chunks ahead."""
        encode = partial(self._encode, special=special)
        for [ids] in in_threads(encode, self._settled_texts(chunks, special), workers):
            yield ids

    @checked
    def encode_documents(self, texts: Iterable[str], eos: str) -> np.ndarray:
        """Return the ids of all texts in one array, each text followed by the special token eos.

        Inside texts nothing counts as special.
        """
        parts, end = [np.empty(0, self.dtype)], np.array([self.special_id(eos)], self.dtype)
        for ids in self.encode_many(texts, "text"):
            parts += [ids, end]
        return np.concatenate(parts)

    def _encode(self, texts: list[tuple[str, int]], special: Special) -> list[np.ndarray]:
        """Return the ids of each text, given with the place of its first character."""
        cut = [self._parts(text, place, special) for text, place in texts]
        plain = [part for parts in cut for part in parts[::2]]
        encoded = iter(self._encode_plain(plain))
        out = []
        for parts in cut:
            ids = [next(encoded)]
            for special_token in parts[1::2]:
                ids += [np.array([self.special_tokens[special_token]]), next(encoded)]
            whole = np.concatenate(ids) if len(ids) > 1 else ids[0]
            out.append(whole.astype(self.dtype, copy=False))
        return out

    def _parts(self, text: str, place: int, special: Special) -> list[str]:
        """Return text, whose first character has this place, cut at the special tokens in it."""
        if special not in get_args(Special):
            raise ValueError(f"special is {special!r}: take one of {', '.join(get_args(Special))}")
        parts = [text] if special == "text" else self._specials.split(text)
        if special == "forbid" and len(parts) > 1:
            raise ValueError(
                f"special token {parts[1]!r} is at character {place + len(parts[0])}: remove it "
                "or encode with special='allow' for its id or special='text' for its letters"
            )
        return parts

    def _settled_texts(
        self, chunks: Iterable[str], special: Special
    ) -> Iterator[list[tuple[str, int]]]:
        """Yield pieces of the joined chunks whose ids are final, each with its place in a list."""
        waiting, size, place, enough = [""], 0, 0, 1
        for chunk in chunks:
            waiting.append(chunk)
            size += len(chunk)
            if size >= enough:
                text = "".join(waiting)
                cut = self._settled(text, special)
                if cut:
                    yield [(text[:cut], place)]
                waiting, size, place = [text[cut:]], size - cut, place + cut
                # twice what could not be cut, so that a text without blanks takes linear time
                enough = max(min(2 * enough, STREAM_CHUNK), 2 * size)
        if size:
            yield [("".join(waiting), place)]

    def _settled(self, text: str, special: Special) -> int:
        """Return how many characters of text have final ids, whatever text follows."""
        specials = NO_SPECIALS if special == "text" else self._specials
        parts = specials.split(text)
        start = 0  # of the plain text after the last special token that is certain
        for plain, special_token in zip(parts[::2], parts[1::2], strict=False):
            place = start + len(plain)
            if specials.open_place(text, start, place + 1) <= place:
                break
            start = place + len(special_token)
        stop = specials.open_place(text, start, len(text))
        rule = SAFE_CUTS.get(self.pattern)
        last = rule.search(text[start:stop]) if rule else None
        return start + last.start() if last else start

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """Return the text of ids; bytes that are not UTF-8 become U+FFFD.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[SupportsIndex]) -> bytes:
        """Return the bytes of ids; see `decode`."""
        ids = cast(Any, ids).tolist() if hasattr(ids, "tolist") else ids
        try:
            return b"".join([self.vocab[index(id)] for id in ids])
        except TypeError:
            if isinstance(ids, Iterator):  # some of it is gone
                raise ValueError("ids must be whole numbers, but the iterator has others") from None
            return self.decode_bytes(converted("ids", ids, Sequence[int]))
        except KeyError as error:
            raise ValueError(
                f"id {error.args[0]} is not in this vocabulary of {self.vocab_size} entries"
            ) from None

    @checked
    def decode_stream(self, ids: Iterable[SupportsIndex]) -> Iterator[str]:
        """Yield the text of ids as they come, in whole characters. Joined, it equals `decode`'s."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for id in ids:
            if text := decoder.decode(self.decode_bytes([id])):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text

    @checked
    def bytes_per_token(self, text: str) -> float:
        """Return the mean number of bytes in a token of text.

        Raises:
            ValueError: the text is empty.
        """
        if not text:
            raise ValueError("an empty text has no bytes per token")
        n_tokens = len(self.encode_array(text))
        return len(text.encode()) / n_tokens

    @checked
    def save(self, folder: str | Path) -> None:
        """Write folder/tokenizer.json, which `tokenizers` and `transformers` open too.

        They give the same ids, except for characters newer than their Unicode version, and for
        merges that no training gives: two that make the same token, or one that comes before its
        parts. They decode a special token with characters beyond ASCII wrongly.

        Raises:
            ValueError: the format cannot hold this vocabulary; the message names the token.
        """
        write_json(Path(folder) / "tokenizer.json", self._stored())

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> "BaseTokenizer":
        """Return the tokenizer in folder/tokenizer.json, which `tokenizers` may have written.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is damaged, or asks for something that is not supported.
        """
        path = Path(folder) / "tokenizer.json"
        try:
            return cls._from_stored(from_json(require_file(path).read_text("utf-8-sig")))
        except NotUnderstoodError as error:
            raise ValueError(f"{path} has {error}, which {cls.__name__} does not support") from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}): fetch or train it again") from None

    @checked
    def describe(self, id: int) -> Token:
        """Return a token with a note that explains how files write it.

        Raises:
            ValueError: the id is not in the vocabulary.
        """
        token = self.decode_bytes([id])
        is_special = id in self.special_tokens.values()
        text, written = _text_or_none(token), token.decode() if is_special else symbols(token)
        if is_special:
            note = "special: text that spells it becomes this one token, and no merge makes it"
        elif text is None:
            note = "not whole characters: it has only a part of a character of several bytes"
        elif text != written:
            note = "files write blanks, controls and bytes beyond ASCII as stand-ins, a blank as Ġ"
        else:
            note = ""
        return Token(id=id, bytes=token, text=text, written=written, note=note)


def _rebuilt(kind: type[BaseTokenizer], arguments: dict[str, Any]) -> BaseTokenizer:
    return kind(**arguments)


def _text_or_none(token: bytes) -> str | None:
    try:
        return token.decode()
    except UnicodeDecodeError:
        return None

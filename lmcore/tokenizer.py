"""Text to ids and back: a byte-level BPE whose ids are those of its merges applied in order.

`encoder` does the fast part, plain text between special tokens; what is special is decided here.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np

from lmcore.bpe import ALPHABET, Pair, train_bpe
from lmcore.encoder import Encoder
from lmcore.pretokens import GPT2_PATTERN, split_on_specials
from lmcore.records import write_text


class Tokenizer:
    """Encodes and decodes with a given vocabulary, merges and special tokens.

    Ids may stand in any order; of two for the same bytes the smaller is used. Special tokens
    missing from vocab get the next free ids.
    """

    def __init__(
        self,
        vocab: dict[int, bytes],
        merges: list[Pair],
        special_tokens: Iterable[str] | None = None,
        pattern: str = GPT2_PATTERN,
    ):
        self.vocab, self.merges, self.pattern = dict(vocab), list(merges), pattern
        self.special_tokens: dict[str, int] = {}
        ids = {token: id for id, token in sorted(self.vocab.items(), reverse=True)}
        for special in special_tokens or ():
            id = ids.setdefault(special.encode(), max(self.vocab, default=-1) + 1)
            self.vocab[id] = special.encode()
            self.special_tokens[special] = id
        ranked = list(dict.fromkeys([*ALPHABET, *(left + right for left, right in self.merges)]))
        missing = [token for token in ranked if token not in ids]
        if missing:
            raise ValueError(
                f"the vocabulary lacks {len(missing)} of the tokens that its merges and the "
                f"256 bytes make, {missing[0]!r} first"
            )
        self._id_of_rank = np.array([ids[token] for token in ranked], dtype=np.int64)
        self._engine = Encoder(self.merges, pattern)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Iterable[str] = (),
        *,
        progress: bool = False,
    ) -> "Tokenizer":
        """Return a tokenizer trained on texts; see `train_bpe` for the semantics."""
        specials = tuple(special_tokens)
        return cls(*train_bpe(texts, vocab_size, specials, progress=progress), specials)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id: the number of rows an embedding needs."""
        return max(self.vocab) + 1

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that decides ids; token files carry it to know their tokenizer."""
        return hashlib.sha256(self._json().encode()).hexdigest()[:16]

    def encode(self, text: str) -> list[int]:
        """Return the ids of text; special tokens in it become their ids, the longest first.

        Raises:
            ValueError: the text has a lone surrogate, which no bytes stand for.
        """
        ids: list[int] = []
        for i, part in enumerate(split_on_specials(text, self.special_tokens)):
            if i % 2:
                ids.append(self.special_tokens[part])
            elif part:
                ids.extend(self._encode_plain(part).tolist())
        return ids

    def encode_documents(self, texts: Iterable[str], end: str) -> np.ndarray:
        """Return the ids of all texts in one array, each text closed by the special token end.

        Nothing inside a text counts as special, whatever it spells.
        """
        parts = []
        close = np.array([self.special_tokens[end]])
        for text in texts:
            parts += [self._encode_plain(text), close]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def _encode_plain(self, text: str) -> np.ndarray:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = text[error.start]
            raise ValueError(f"{found!r} is a lone surrogate: no UTF-8 stands for it") from None
        return self._id_of_rank[self._engine.encode(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; bytes that are not UTF-8 become U+FFFD.

        Raises:
            ValueError: an id is not in the vocabulary.
        """
        try:
            return b"".join(self.vocab[int(id)] for id in ids).decode("utf-8", errors="replace")
        except KeyError as error:
            raise ValueError(
                f"id {error.args[0]} is not in this vocabulary of {self.vocab_size} entries"
            ) from None

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer to folder as tokenizer.json."""
        write_text(Path(folder) / "tokenizer.json", self._json())

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Return the tokenizer that `save` wrote to folder.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the file is damaged.
        """
        path = Path(folder) / "tokenizer.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                {int(id): bytes.fromhex(token) for id, token in stored["vocab"].items()},
                [(bytes.fromhex(left), bytes.fromhex(right)) for left, right in stored["merges"]],
                stored["special_tokens"],
                stored["pattern"],
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}): delete it and train again") from None

    def _json(self) -> str:
        return json.dumps(
            {
                "pattern": self.pattern,
                "special_tokens": list(self.special_tokens),
                "vocab": {id: token.hex() for id, token in sorted(self.vocab.items())},
                "merges": [[left.hex(), right.hex()] for left, right in self.merges],
            }
        )

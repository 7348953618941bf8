"""A byte-level BPE tokenizer that applies its merges in order."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lmcore.boundary import checked
from lmcore.files import from_json, write_json, write_text
from lmcore.tokenizer.base import BaseTokenizer
from lmcore.tokenizer.bpe import Pair, train_bpe
from lmcore.tokenizer.encoder import Encoder
from lmcore.tokenizer.hf_files import (
    NO_FRAME,
    Frame,
    bpe_json,
    merges_txt,
    names,
    parse_bpe,
    parse_merges_txt,
    parse_template,
    parse_vocab,
    require_all_merges,
    template,
)
from lmcore.tokenizer.pretokens import GPT2_PATTERN, Texts


class Tokenizer(BaseTokenizer):
    """A byte-level BPE tokenizer with the given vocabulary, merges and special tokens.

    If two ids have the same bytes, the smaller one is used. With ignore_merges, as in Llama 3, a
    pre-token in the vocabulary becomes that one token even if merges would not make it. The frame
    is the ids before and after each text; see `add_special_tokens`. A vocabulary that may lack some
    of the 256 bytes, as files of other programs do, encodes texts without these bytes only.
    """

    @checked
    def __init__(
        self,
        vocab: dict[int, bytes],
        merges: list[Pair],
        special_tokens: Iterable[str] | None = None,
        pattern: str = GPT2_PATTERN,
        *,
        ignore_merges: bool = False,
        frame: Frame = NO_FRAME,
        may_lack_bytes: bool = False,
    ):
        super().__init__(vocab, special_tokens, pattern)
        self.merges, ids, self.ignore_merges = list(merges), self._ids, ignore_merges
        self.frame = frame
        self._special_of = {id: special for special, id in self.special_tokens.items()}
        unknown = [id for side in frame for id in side if id not in self._special_of]
        if unknown:
            raise ValueError(f"id {unknown[0]} in the frame is not the id of a special token")
        plain = [token for id, token in self.vocab.items() if id not in self._special_of]
        self._engine = Encoder(self.merges, pattern, plain if ignore_merges else ())
        missing = [token for token in self._engine.tokens if token not in ids]
        self._lacks_bytes = may_lack_bytes and bool(missing)
        if may_lack_bytes:
            missing = [token for token in missing if len(token) > 1]
        if missing:
            raise ValueError(
                f"the vocabulary lacks {len(missing)} of the 256 bytes and the tokens that merges "
                f"make, {missing[0]!r} first: add them"
            )
        self._no_id = np.iinfo(np.uint32).max
        id_of_rank = [ids.get(token, self._no_id) for token in self._engine.tokens]
        self._id_of_rank = np.array(id_of_rank, np.uint32 if self._lacks_bytes else self.dtype)

    @classmethod
    @checked
    def train(
        cls,
        texts: Texts,
        vocab_size: int,
        special_tokens: Iterable[str] = (),
        *,
        progress: bool = False,
    ) -> "Tokenizer":
        """Return a tokenizer trained on files or texts; see `train_bpe` for the semantics."""
        specials = tuple(special_tokens)
        return cls(*train_bpe(texts, vocab_size, specials, progress=progress), specials)

    def _encode_plain(self, texts: list[str]) -> list[np.ndarray]:
        try:
            out = [self._id_of_rank[ranks] for ranks in self._engine.encode_many(texts)]
        except UnicodeEncodeError as error:
            surrogate = error.object[error.start]
            raise ValueError(f"{surrogate!r} is a lone surrogate, which UTF-8 lacks") from None
        if self._lacks_bytes:
            for text, ids in zip(texts, out, strict=True):
                self._require_known(text, ids)
        return out

    def _require_known(self, text: str, ids: np.ndarray) -> None:
        """Raise ValueError if text has a byte that the vocabulary lacks."""
        if (ids == self._no_id).any():
            unknown = [byte for byte in text.encode() if bytes([byte]) not in self._ids]
            raise ValueError(
                f"this vocabulary has no token for the byte {unknown[0]:#04x} of the text: it was "
                "made from a text without it"
            )

    @checked
    def add_special_tokens(self, ids: Iterable[int]) -> list[int]:
        """Return ids with the special tokens around a text that the tokenizer's file asks for.

        An example is a begin-of-text token. `tokenizers` and `transformers` add these whenever they
        encode; `encode` here never does.
        """
        before, after = self.frame
        return [*before, *ids, *after]

    def _stored(self) -> dict[str, Any]:
        pattern = None if self.pattern == GPT2_PATTERN else self.pattern
        stored = bpe_json(self.vocab, self.merges, self.special_tokens, pattern)
        stored["model"]["ignore_merges"] = self.ignore_merges
        stored["post_processor"] = template(self.frame, self._special_of)
        return stored

    @classmethod
    def _from_stored(cls, stored: Any) -> "Tokenizer":
        vocab, merges, specials, pattern = parse_bpe(stored)
        return cls(
            vocab,
            merges,
            specials,
            GPT2_PATTERN if pattern is None else pattern,
            ignore_merges=stored["model"].get("ignore_merges", False),
            frame=parse_template(stored["post_processor"]),
            may_lack_bytes=True,
        )

    @checked
    def save_gpt2(self, folder: str | Path) -> None:
        """Write folder/vocab.json and folder/merges.txt, which do not name special tokens.

        Raises:
            ValueError: the files cannot hold the pattern, the frame, or two ids of the same bytes.
        """
        ids = names(self.vocab, self.merges, self.special_tokens)
        is_plain = self.pattern == GPT2_PATTERN and self.frame == NO_FRAME
        if not is_plain or self.ignore_merges or len(ids) != len(self.vocab):
            raise ValueError(
                "vocab.json and merges.txt hold one id for each token, GPT-2's pattern and no "
                "frame: use save, which writes tokenizer.json"
            )
        write_json(Path(folder) / "vocab.json", ids)
        write_text(Path(folder) / "merges.txt", merges_txt(self.merges))

    @classmethod
    @checked
    def load_gpt2(
        cls,
        vocab_path: str | Path,
        merges_path: str | Path,
        special_tokens: Iterable[str] = ("<|endoftext|>",),
    ) -> "Tokenizer":
        """Return the tokenizer of GPT-2's two files, vocab.json and merges.txt.

        Raises:
            FileNotFoundError: a file does not exist.
            ValueError: a file is damaged; the message names both.
        """
        texts = [Path(path).read_bytes() for path in (vocab_path, merges_path)]
        specials = tuple(special_tokens)
        try:
            vocab = parse_vocab(from_json(texts[0].decode("utf-8-sig")), specials)
            merges = parse_merges_txt(texts[1].decode("utf-8-sig"))
            require_all_merges(vocab, merges, specials)
            return cls(vocab, merges, specials)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{vocab_path} and {merges_path} are not a vocabulary and its merges ({error})"
            ) from None

    def _arguments(self) -> dict[str, Any]:
        return {
            "vocab": self.vocab,
            "merges": self.merges,
            "special_tokens": list(self.special_tokens),
            "pattern": self.pattern,
            "ignore_merges": self.ignore_merges,
            "frame": self.frame,
            "may_lack_bytes": self._lacks_bytes,
        }

    def _json(self) -> str:
        return json.dumps(
            {
                "pattern": self.pattern,
                "special_tokens": list(self.special_tokens),
                "vocab": {id: token.hex() for id, token in sorted(self.vocab.items())},
                "merges": [[left.hex(), right.hex()] for left, right in self.merges],
            }
            | ({"ignore_merges": True} if self.ignore_merges else {})
        )

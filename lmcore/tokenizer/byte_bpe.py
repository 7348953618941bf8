"""A byte-level BPE whose ids are those of its merges applied in order."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lmcore.files import write_json, write_text
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
    template,
)
from lmcore.tokenizer.pretokens import GPT2_PATTERN, SAFE_CUTS, Texts


class Tokenizer(BaseTokenizer):
    """A byte-level BPE: encodes with a given vocabulary, merges and special tokens.

    Of two ids for the same bytes the smaller is used. With ignore_merges, a pre-token that the
    vocabulary holds is its token, whether merges make it or not, as in Llama 3. A frame is what
    a file puts around a text: the ids before it and after it, see `add_special_tokens`.
    """

    def __init__(
        self,
        vocab: dict[int, bytes],
        merges: list[Pair],
        special_tokens: Iterable[str] | None = None,
        pattern: str = GPT2_PATTERN,
        *,
        ignore_merges: bool = False,
        frame: Frame = NO_FRAME,
    ):
        super().__init__(vocab, special_tokens, pattern)
        self.merges, ids, self.ignore_merges = list(merges), self._ids, ignore_merges
        self.frame = frame
        self._special_of = {id: special for special, id in self.special_tokens.items()}
        unknown = [id for side in frame for id in side if id not in self._special_of]
        if unknown:
            raise ValueError(f"id {unknown[0]} goes around each text but is no special token")
        plain = [token for id, token in self.vocab.items() if id not in self._special_of]
        self._engine = Encoder(self.merges, pattern, plain if ignore_merges else ())
        missing = [token for token in self._engine.tokens if token not in ids]
        if missing:
            raise ValueError(
                f"the vocabulary lacks {len(missing)} of the tokens that its merges and the "
                f"256 bytes make, {missing[0]!r} first"
            )
        self._id_of_rank = np.array([ids[t] for t in self._engine.tokens], dtype=self.dtype)

    @classmethod
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
            found = error.object[error.start]
            raise ValueError(f"{found!r} is a lone surrogate: no UTF-8 stands for it") from None
        if self.pattern not in SAFE_CUTS:  # patterns with a rule are known to find all characters
            for text, ids in zip(texts, out, strict=True):
                if self.decode_bytes(ids) != text.encode():
                    raise ValueError(
                        f"pattern {self.pattern!r} leaves out some of the text: let it end with "
                        r"|[\s\S]"
                    )
        return out

    def add_special_tokens(self, ids: Iterable[int]) -> list[int]:
        """Return ids with those around them that the file asks for, such as a begin of text.

        `tokenizers` and `transformers` add them whenever they encode; `encode` here never does.
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
        )

    def save_gpt2(self, folder: str | Path) -> None:
        """Write folder/vocab.json and folder/merges.txt; they do not say what is special.

        Raises:
            ValueError: the pattern is not GPT-2's, or two ids stand for the same bytes.
        """
        ids = names(self.vocab, self.merges, self.special_tokens)
        is_plain = self.pattern == GPT2_PATTERN and self.frame == NO_FRAME
        if not is_plain or self.ignore_merges or len(ids) != len(self.vocab):
            raise ValueError(
                "vocab.json and merges.txt hold one id for each token and GPT-2's pattern, and "
                "nothing around a text: save as tokenizer.json"
            )
        write_json(Path(folder) / "vocab.json", ids)
        write_text(Path(folder) / "merges.txt", merges_txt(self.merges))

    @classmethod
    def load_gpt2(
        cls,
        vocab_path: str | Path,
        merges_path: str | Path,
        special_tokens: Iterable[str] = ("<|endoftext|>",),
    ) -> "Tokenizer":
        """Return the tokenizer of GPT-2's two files, vocab.json and merges.txt.

        Raises:
            FileNotFoundError: one is not there.
            ValueError: one is damaged; the message names both.
        """
        texts = [Path(path).read_bytes() for path in (vocab_path, merges_path)]
        specials = tuple(special_tokens)
        try:
            vocab = parse_vocab(json.loads(texts[0]), specials)
            return cls(vocab, parse_merges_txt(texts[1].decode()), specials)
        except (AttributeError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"{vocab_path} and {merges_path} are no vocabulary and its merges ({error})"
            ) from None

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

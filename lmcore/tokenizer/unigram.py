"""A byte-level Unigram tokenizer (Kudo 2018, 1804.10959), trained and run by `tokenizers`.

`tokenizers` sees each byte as the character that stands for it. All 256 bytes are pieces and
nothing is normalized, so decoding gives back any text.
"""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from lmcore.boundary import checked
from lmcore.tokenizer.base import BaseTokenizer
from lmcore.tokenizer.bpe import ALPHABET
from lmcore.tokenizer.hf_files import SYMBOLS, from_symbols, parse_unigram, symbols, unigram_json
from lmcore.tokenizer.pretokens import GPT2_PATTERN, Texts, plain_pieces
from lmcore.tokenizer.specials import distinct


class UnigramTokenizer(BaseTokenizer):
    """Cuts each pre-token of GPT-2's pattern into the pieces with the largest sum of scores.

    A piece's id is its index in pieces.
    """

    @checked
    def __init__(
        self, pieces: list[tuple[bytes, float]], special_tokens: Iterable[str] | None = None
    ):
        super().__init__(
            {id: piece for id, (piece, _) in enumerate(pieces)}, special_tokens, GPT2_PATTERN
        )
        added = range(len(pieces), self.vocab_size)
        pieces = self.pieces = [*pieces, *((self.vocab[id], 0.0) for id in added)]
        special_ids = set(self.special_tokens.values())
        plain = {piece for id, (piece, _) in enumerate(pieces) if id not in special_ids}
        if len({piece for piece, _ in pieces}) < len(pieces) or not set(ALPHABET) <= plain:
            raise ValueError(
                "pieces must have each of the 256 bytes, not as a special token, and no duplicates"
            )
        if not all(math.isfinite(score) for _, score in pieces):
            raise ValueError("the score of a piece is not a finite number")
        # written in stand-ins no text has a blank, so a name with one keeps special tokens out
        names = [
            f" {id}" if id in special_ids else symbols(piece) for id, piece in self.vocab.items()
        ]
        scores = [score for _, score in pieces]
        self._engine = tokenizers.Tokenizer(models.Unigram(list(zip(names, scores, strict=False))))
        self._engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    @classmethod
    @checked
    def train(
        cls,
        texts: Texts,
        vocab_size: int,
        special_tokens: Iterable[str] = (),
        *,
        progress: bool = False,
    ) -> "UnigramTokenizer":
        """Return a tokenizer trained on files or texts, which are read as in `train_bpe`.

        Special tokens are boundaries and have the first ids. A text too small for vocab_size gives
        a smaller vocabulary.

        Raises:
            ValueError: vocab_size has no room for the specials and the bytes, or the text is empty.
        """
        specials, text_bytes = distinct(special_tokens), set()
        least = len(ALPHABET) + len(specials)
        if vocab_size < least:
            raise ValueError(
                f"vocab_size {vocab_size} is too small: {len(ALPHABET)} bytes and {len(specials)} "
                f"special tokens need {least}"
            )

        def plain() -> Iterator[str]:
            for piece in plain_pieces(texts, specials):
                text_bytes.update(piece.encode())
                yield piece

        trained = tokenizers.Tokenizer(models.Unigram())
        trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.UnigramTrainer(
            vocab_size=vocab_size - len(specials),
            initial_alphabet=sorted(SYMBOLS.values()),
            show_progress=progress,
        )
        trained.train_from_iterator(plain(), trainer)
        if not text_bytes:
            raise ValueError("there is no text to train a tokenizer on")
        pieces = [
            (from_symbols(name), score)
            for name, score in json.loads(trained.to_str())["model"]["vocab"]
        ]
        return cls(
            [(special.encode(), 0.0) for special in specials] + _ordered(pieces, text_bytes),
            specials,
        )

    def _encode_plain(self, texts: list[str]) -> list[np.ndarray]:
        for text in texts:
            text.encode()  # raises for a lone surrogate, which the library calls no string
        return [np.array(self._engine.encode(text).ids, dtype=self.dtype) for text in texts]

    def _arguments(self) -> dict[str, Any]:
        return {"pieces": self.pieces, "special_tokens": list(self.special_tokens)}

    def _json(self) -> str:
        pieces = [[piece.hex(), score] for piece, score in self.pieces]
        return json.dumps({"special_tokens": list(self.special_tokens), "unigram": pieces})

    def _stored(self) -> dict[str, Any]:
        return unigram_json(self.pieces, self.special_tokens)

    @classmethod
    def _from_stored(cls, stored: Any) -> "UnigramTokenizer":
        return cls(*parse_unigram(stored))


def _ordered(pieces: list[tuple[bytes, float]], text_bytes: set[int]) -> list[tuple[bytes, float]]:
    """Return pieces by falling score, in the same order after each training on one text.

    The library adds in a different order each time. So scores are rounded, ties are broken by
    bytes, and bytes that the text lacks come last with a score below all others.
    """
    in_text = [(piece, round(score, 6)) for piece, score in pieces if set(piece) <= text_bytes]
    lowest = min(score for _, score in in_text) - 10
    others = [(byte, lowest) for byte in ALPHABET if byte[0] not in text_bytes]
    return sorted(in_text, key=lambda piece: (-piece[1], piece[0])) + others

"""A Unigram tokenizer over bytes (Kudo 2018, 1804.10959), trained and run by `tokenizers`.

Bytes go in as the characters that stand for them, each of the 256 is a piece, and nothing is
normalized: so any text comes back.
"""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from lmcore.tokenizer.base import BaseTokenizer
from lmcore.tokenizer.bpe import ALPHABET
from lmcore.tokenizer.hf_files import SYMBOLS, from_symbols, parse_unigram, symbols, unigram_json
from lmcore.tokenizer.pretokens import GPT2_PATTERN, Texts, plain_pieces


class UnigramTokenizer(BaseTokenizer):
    """Cuts each pre-token of GPT-2's pattern into the pieces whose scores add up to most.

    A piece's id is its place among the pieces.
    """

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
                "pieces must hold each of the 256 bytes, none of them special, and nothing twice"
            )
        if not all(math.isfinite(score) for _, score in pieces):
            raise ValueError("each piece needs a finite score")
        # a blank is in no text once bytes are characters, so no text has a special's piece
        names = [
            f" {id}" if id in special_ids else symbols(piece) for id, piece in self.vocab.items()
        ]
        scores = [score for _, score in pieces]
        self._engine = tokenizers.Tokenizer(models.Unigram(list(zip(names, scores, strict=False))))
        self._engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    @classmethod
    def train(
        cls,
        texts: Texts,
        vocab_size: int,
        special_tokens: Iterable[str] = (),
        *,
        progress: bool = False,
    ) -> "UnigramTokenizer":
        """Return a tokenizer trained on files or texts, read as `train_bpe` reads them.

        Special tokens are boundaries and come first. A text too small for vocab_size gives the
        smaller vocabulary it can fill.

        Raises:
            ValueError: vocab_size has no room for the specials and the bytes, or the text is empty.
        """
        specials, seen = list(dict.fromkeys(special_tokens)), set()
        least = len(ALPHABET) + len(specials)
        if vocab_size < least:
            raise ValueError(
                f"vocab_size {vocab_size} is too small: bytes and specials take {least}"
            )

        def plain() -> Iterator[str]:
            for piece in plain_pieces(texts, specials):
                seen.update(piece.encode())
                yield piece

        trained = tokenizers.Tokenizer(models.Unigram())
        trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.UnigramTrainer(
            vocab_size=vocab_size - len(specials),
            initial_alphabet=sorted(SYMBOLS.values()),
            show_progress=progress,
        )
        trained.train_from_iterator(plain(), trainer)
        if not seen:
            raise ValueError("there is no text to train a tokenizer on")
        found = [
            (from_symbols(name), score)
            for name, score in json.loads(trained.to_str())["model"]["vocab"]
        ]
        return cls(
            [(special.encode(), 0.0) for special in specials] + _ordered(found, seen), specials
        )

    def _encode_plain(self, texts: list[str]) -> list[np.ndarray]:
        for text in texts:
            text.encode()  # a lone surrogate is an error here; the library would say: no string
        return [np.array(self._engine.encode(text).ids, dtype=self.dtype) for text in texts]

    def _json(self) -> str:
        pieces = [[piece.hex(), score] for piece, score in self.pieces]
        return json.dumps({"special_tokens": list(self.special_tokens), "unigram": pieces})

    def _stored(self) -> dict[str, Any]:
        return unigram_json(self.pieces, self.special_tokens)

    @classmethod
    def _from_stored(cls, stored: Any) -> "UnigramTokenizer":
        return cls(*parse_unigram(stored))


def _ordered(pieces: list[tuple[bytes, float]], seen: set[int]) -> list[tuple[bytes, float]]:
    """Return pieces in the order of their scores, the same after each training on one text.

    The library adds up in an order of its own each time: the last digits are rounded away, ties
    are broken by bytes, and bytes that the text lacks come last with a score below all others.
    """
    known = [(piece, round(score, 6)) for piece, score in pieces if set(piece) <= seen]
    rare = min(score for _, score in known) - 10
    unseen = [(byte, rare) for byte in ALPHABET if byte[0] not in seen]
    return sorted(known, key=lambda one: (-one[1], one[0])) + unseen

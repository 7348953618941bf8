"""A text in tokens as an experiment's data: three splits, their tokenizer, where they came from."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lmcore.data.batches import Batches, Order
from lmcore.data.token_files import Tokens
from lmcore.evaluation.scores import Answers, Score, score
from lmcore.model.gpt import GPT
from lmcore.tasks.text import TextTask
from lmcore.tokenizer.base import BaseTokenizer

EOS = "<|endoftext|>"
"""The token that ends every document, and the line that does so in a file of documents."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TextCorpus:
    """Tokenized splits, their tokenizer, and where the text came from."""

    name: str
    """What messages call the text."""
    vocab_size: int
    """The vocabulary that was asked for."""
    tokenizer: BaseTokenizer
    train: Tokens
    validation: Tokens
    test: Tokens
    origin: dict[str, Any]
    validation_tokenizer: str | None = None
    """The fingerprint of the validation tokens' tokenizer. None: it is that of the others."""
    within_documents: bool = False
    """Whether no token attends to another document, in training or in any score."""

    @property
    def eos_id(self) -> int:
        """The id of the token that ends every document."""
        return self.tokenizer.special_id(EOS)

    @cached_property
    def train_texts(self) -> list[str]:
        """The documents of the training split as text."""
        return self.tokenizer.decode(self.train.ids).split(EOS)[:-1]

    def source(self, *, batch_size: int, context_length: int, order: Order, seed: int) -> TextTask:
        """Return the task of a run with these numbers: batches of the train split, and scores.

        Raises:
            ValueError: the text has fewer entries of a vocabulary than were asked for.
        """
        if self.tokenizer.vocab_size < self.vocab_size:
            raise ValueError(
                f"{self.name} gives a vocabulary of {self.tokenizer.vocab_size:,}, not "
                f"{self.vocab_size:,}: set vocab_size of task and model to the first"
            )
        return TextTask(
            batches=Batches(self.train, batch_size, context_length, order, seed),
            validation=self.validation,
            eos_id=self.eos_id,
            within_documents=self.within_documents,
            validation_tokenizer=self.validation_tokenizer,
        )

    def test_scores(self, model: GPT) -> dict[str, Score | Answers]:
        """Return the score of the test text."""
        return {"test": score(model, self.test, self.eos_id, self.within_documents)}


def data_folder(data: Path | None) -> Path | None:
    """Return data, or without it the folder in the environment variable LMCORE_DATA, if any."""
    named = os.environ.get("LMCORE_DATA")
    return data or (Path(named) if named else None)

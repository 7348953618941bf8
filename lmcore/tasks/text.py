"""A stream of tokens as a task: batches to learn from, validation tokens to score."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from lmcore.boundary import convert_fields
from lmcore.data.batches import Batches
from lmcore.data.token_files import Tokens
from lmcore.evaluation.scores import Answers, Score, challenge_score, score
from lmcore.tasks.protocols import Batch


@dataclass(frozen=True, eq=False, kw_only=True)
class TextTask:
    """Batches of tokens, and the score of every validation token."""

    batches: Batches
    validation: Tokens
    eos_id: int
    within_documents: bool = False
    """Whether attention stays within documents, in training and in scores."""
    with_challenge: bool = False
    """Whether the score of the headlines challenge's evaluator is taken too."""
    validation_tokenizer: str | None = None
    """The fingerprint of the validation tokens' tokenizer. None: it is that of the batches."""

    def __post_init__(self):
        convert_fields(self)
        trained_on, scored_on = self.batches.info, self.validation.info.tokenizer
        expected = self.validation_tokenizer or (trained_on.tokenizer if trained_on else scored_on)
        if expected != scored_on:
            raise ValueError(
                f"the batches are tokens of tokenizer {expected}, the validation tokens of "
                f"{scored_on}: encode both with one tokenizer"
            )

    @property
    def facts(self) -> dict[str, Any]:
        """What decides batches and scores."""
        return self.batches.facts | {
            "within_documents": self.within_documents,
            "validation": self.validation.info.sha256,
        }

    @property
    def batches_per_epoch(self) -> int | None:
        """Whole batches that the tokens fill, or None if rows are drawn with replacement."""
        return self.batches.steps_per_epoch

    def batch(self, number: int) -> Batch:
        """Return the batch of this number in the order of batches."""
        documents = self.batches.documents(number) if self.within_documents else None
        return Batch(*self.batches.batch(number), documents)

    def scores(self, model: nn.Module) -> dict[str, Score | Answers]:
        """Return the scores of the validation tokens, in windows as long as the batches' rows."""
        text, context_length = (self.validation, self.eos_id), self.batches.context_length
        within, rows = self.within_documents, self.batches.batch_size
        scores: dict[str, Score | Answers] = {
            "validation": score(model, *text, within, context_length)
        }
        if self.with_challenge:
            scores["challenge"] = challenge_score(model, *text, rows, within, context_length)
        return scores

"""Learning from a stream of tokens."""

from dataclasses import dataclass

from lmcore.data.batches import Batches
from lmcore.data.token_files import Tokens
from lmcore.evaluation.scores import Score, challenge_score, score
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Batch


@dataclass(frozen=True, eq=False, kw_only=True)
class TextTask:
    """Batches of tokens, and validation tokens scored by the house metric and the challenge's."""

    batches: Batches
    validation: Tokens
    eos_id: int
    within_documents: bool = False

    @property
    def batches_per_epoch(self) -> int | None:
        """How many whole batches the tokens fill; none are counted if drawn with replacement."""
        return self.batches.steps_per_epoch

    def batch(self, number: int) -> Batch:
        """Return the batch of this number in the order that batches has."""
        documents = self.batches.documents(number) if self.within_documents else None
        return Batch(*self.batches.batch(number), documents)

    def scores(self, model: GPT) -> dict[str, Score]:
        """Return both scores of the validation tokens, each of them scored once."""
        rows, text = self.batches.batch_size, (self.validation, self.eos_id)
        return {
            "validation": score(model, *text, self.within_documents),
            "challenge": challenge_score(model, *text, rows, self.within_documents),
        }

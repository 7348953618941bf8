"""When a run ends before its planned length because of its scores, and its best weights."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from lmcore.evaluation.scores import Answers, Score
from lmcore.training import parallel
from lmcore.training.checkpoint import Progress, load_weights, save_weights
from lmcore.training.config import EvaluationConfig

ACCURATE_EVALUATIONS = 5
"""Evaluations in a row that must reach stop_accuracy before a run ends."""


class EarlyStopping:
    """The best value so far of a score or metric, the weights that gave it, and whether to stop.

    The weights are saved at path, or held in memory where it is None.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        progress: Progress,
        path: Path | None,
        select: str = "validation",
        mode: Literal["min", "max"] = "min",
    ):
        if select != "validation" and not config.patience:
            raise ValueError(f"select {select!r} has no effect without a patience: leave it out")
        self.config, self.path = config, path
        self.select, self.sign = select, -1 if mode == "max" else 1
        self.best_step, self.n_accurate = progress.best_step, progress.n_accurate
        self.best_value = math.inf if progress.best_value is None else progress.best_value
        self.n_without_improvement = progress.n_without_improvement
        self.weights: dict[str, Tensor] | None = None

    def update(
        self,
        step: int,
        scores: Mapping[str, Score | Answers],
        metrics: Mapping[str, float],
        model: nn.Module,
    ) -> None:
        """Take the evaluation after a step into account, and keep model's weights if it is best."""
        if self.config.stop_accuracy:
            is_accurate = scores["validation"].accuracy >= self.config.stop_accuracy
            self.n_accurate = self.n_accurate + 1 if is_accurate else 0
        if not self.config.patience:
            return
        value = self.sign * self._selected(scores, metrics)
        if not value < self.best_value:
            self.n_without_improvement += 1
            return
        self.best_step, self.best_value, self.n_without_improvement = step, value, 0
        if self.path is None:
            self.weights = {name: weight.clone() for name, weight in model.state_dict().items()}
        elif parallel.rank() == 0:
            save_weights(self.path, model)

    def _selected(
        self, scores: Mapping[str, Score | Answers], metrics: Mapping[str, float]
    ) -> float:
        if self.select in metrics:
            return metrics[self.select]
        if self.select not in scores:
            names = ", ".join([*scores, *metrics]) or "none"
            raise ValueError(f"select names {self.select!r}, but scores and metrics are: {names}")
        if self.sign < 0:
            raise ValueError(f"{self.select} is a loss, of which less is better: take mode 'min'")
        return scores[self.select].nats

    @property
    def stop_reason(self) -> str | None:
        """Why the run should end now, if it should."""
        config = self.config
        if self.n_accurate >= ACCURATE_EVALUATIONS:
            return f"validation accuracy held at {config.stop_accuracy:g} or above"
        if config.patience and self.n_without_improvement >= config.patience:
            loss = "validation loss" if self.select == "validation" else self.select
            return f"no better {loss} since step {self.best_step}"
        return None

    def restore(self, model: nn.Module) -> None:
        """Load the best weights into model, if there is a patience and any were good."""
        if not (self.config.patience and math.isfinite(self.best_value)):
            return
        if self.weights is not None:
            model.load_state_dict(self.weights)
        elif self.path is not None:
            load_weights(self.path, model)

"""What identifies a run: stored in each checkpoint, and compared before the run resumes."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lmcore.config import changes, flat_fields
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Batch, Task, facts_of
from lmcore.training.config import TrainConfig

LENGTHS = ("train.epochs", "train.steps", "train.n_tokens")
MAY_CHANGE = (*LENGTHS, "train.max_s", "train.evaluation.", "train.precision")
"""Beginnings of the facts that a resumed run may change: they decide when it is scored and when it
ends, and its precision is compared as it was resolved.
"""


def run_facts(
    model: nn.Module,
    config: TrainConfig,
    task: Task,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """Return by name what decides a run's numbers.

    batch is the task's first one. given are the arguments that replace parts of config. Functions
    cannot be compared, so of them only their presence counts.
    """
    facts = {"model": type(model).__name__, "tokens_per_step": batch.x.numel()}
    if isinstance(model, GPT):
        facts |= flat_fields(model.config, "model.")
    facts |= flat_fields(config, "train.")
    facts |= {f"{name} given": True for name, value in given.items() if value is not None}
    if given.get("optimizer") is not None:
        facts |= group_facts(optimizer)
    return facts | {f"task.{name}": value for name, value in facts_of(task).items()}


def group_facts(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the numbers of an optimizer's groups by name, with the peak learning rate as lr."""
    facts: dict[str, Any] = {}
    for number, group in enumerate(optimizer.param_groups):
        values = dict(group) | {"lr": group["peak_lr"], "parameters": len(group["params"])}
        for name in values.keys() - {"params", "peak_lr"}:
            value = values[name]
            if value is None or isinstance(value, bool | int | float | str | tuple):
                facts[f"optimizer.{number}.{name}"] = value
    return facts


def hash_of(facts: Mapping[str, Any]) -> str:
    """Return a hash of a run's facts."""
    text = json.dumps(dict(facts), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def require_same_run(path: Path, stored: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Return how the length of the checkpoint's run changes, as "name old -> new".

    Raises:
        ValueError: the checkpoint at path is of another run; the message has both values.
    """
    differing = changes(stored, facts)
    others = [line for name, line in differing.items() if not name.startswith(MAY_CHANGE)]
    if others:
        raise ValueError(
            f"{path} is a checkpoint of another run: {'; '.join(others)}; give it the same "
            "values, or another folder for checkpoints"
        )
    return [line for name, line in differing.items() if name in LENGTHS]

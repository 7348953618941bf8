"""Metrics of the user: anything with a name and a number, measured where scores are due."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from lmcore.evaluation.logits import device_of
from lmcore.training.records import Record

Metric = Callable[[nn.Module], float | Mapping[str, float]]
"""From the model to a number, or to several numbers by name."""

RECORD_NAMES = tuple(field.name for field in fields(Record))


def check_names(names: Iterable[str], taken: Iterable[str] = ()) -> None:
    """Raise ValueError if one of names is a record's field or among those taken."""
    for name in names:
        if name in (*RECORD_NAMES, *taken):
            raise ValueError(f"a record already has a number called {name!r}: rename the metric")


@torch.no_grad()
def measure(model: nn.Module, metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Return each metric of model, in evaluation mode.

    The numbers of a metric that returns several are called metric/number. Random numbers that a
    metric draws are not taken from training.

    Raises:
        ValueError: a metric returned something else than numbers.
    """
    if not metrics:
        return {}
    was_training, device = model.training, device_of(model)
    model.eval()
    out: dict[str, float] = {}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for name, metric in metrics.items():
            value = metric(model)
            parts = value if isinstance(value, Mapping) else {"": value}
            for part, number in parts.items():
                out[f"{name}/{part}" if part else name] = _as_number(name, number)
    model.train(was_training)
    return out


def _as_number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"the metric {name!r} returned a {type(value).__name__}, not a number"
        ) from None

"""Schedules: from a step, counted from 0, to a multiplier of the learning rate.

Each rises linearly from 0 through its warmup. Those that fall reach floor after steps.
"""

import math
from typing import Literal


def multiplier(
    kind: str,
    step: int,
    steps: int,
    warmup: int = 0,
    floor: float = 0.0,
    decay_fraction: float = 0.2,
) -> float:
    """Return the schedule `constant`, `cosine`, `linear`, `wsd` or `wsd-linear` at step.

    `wsd` is warmup_stable_decay with a fall of 1 - √ over the last decay_fraction of all steps,
    `wsd-linear` the same with a line. Only they read decay_fraction; `constant` reads no floor.

    Raises:
        ValueError: there is no such schedule, or its numbers contradict each other.
    """
    match kind:
        case "constant":
            return constant(step, steps, warmup)
        case "cosine":
            return cosine(step, steps, warmup, floor)
        case "linear":
            return linear(step, steps, warmup, floor)
        case "wsd" | "wsd-linear":
            shape = "1-sqrt" if kind == "wsd" else "linear"
            decay = round(decay_fraction * steps)
            return warmup_stable_decay(step, steps, warmup, floor, decay, shape)
    raise ValueError(f"unknown schedule {kind!r}: take constant, cosine, linear, wsd or wsd-linear")


def constant(step: int, steps: int, warmup: int = 0) -> float:
    """Return the multiplier at step: linear from 0 over warmup, then 1."""
    _require_sensible(steps, warmup, floor=0.0)
    return step / warmup if step < warmup else 1.0


def cosine(step: int, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Return the multiplier at step: linear from 0 over warmup, then half a cosine to floor.

    With w, c for warmup, steps (Loshchilov & Hutter 2017, 1608.03983): step/w below w, then
    floor + (1 - floor)(1 + cos(π (step - w)/(c - w)))/2, after c floor.
    """
    _require_sensible(steps, warmup, floor)
    if step < warmup:
        return step / warmup
    if step >= steps:
        return floor
    return floor + (1 - floor) * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def linear(step: int, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Return the multiplier at step: linear from 0 over warmup, then a line down to floor."""
    return warmup_stable_decay(step, steps, warmup, floor, steps - warmup, "linear")


def warmup_stable_decay(
    step: int,
    steps: int,
    warmup: int = 0,
    floor: float = 0.0,
    decay: int = 0,
    shape: Literal["1-sqrt", "linear"] = "1-sqrt",
) -> float:
    """Return the multiplier at step: linear from 0 over warmup, then 1, and to floor at the end.

    The fall takes the last decay steps. Where a share x of it is done, 1 - √x of the way to floor
    is left, or 1 - x (Hägele et al. 2024, 2405.18392).
    """
    _require_sensible(steps, warmup, floor)
    if not 0 <= decay <= steps - warmup:
        raise ValueError(
            f"{decay} steps of decay do not fit into {steps} steps with {warmup} of warmup"
        )
    if step < warmup:
        return step / warmup
    if step >= steps:
        return floor
    done = max(0, step - (steps - decay)) / max(1, decay)
    return floor + (1 - floor) * (1 - (math.sqrt(done) if shape == "1-sqrt" else done))


def _require_sensible(steps: int, warmup: int, floor: float) -> None:
    if not 0 <= warmup <= steps:
        raise ValueError(f"warmup must be between 0 and the {steps} steps, not {warmup}")
    if not 0 <= floor <= 1:
        raise ValueError(f"floor must be between 0 and 1, not {floor}")

"""Schedules: from a step, counted from 0, to a multiplier of the peak learning rate.

Each rises linearly from 0 during warmup. Those that decay reach min_lr_ratio after all steps.
"""

import math
from typing import Literal


def multiplier(
    kind: str,
    step: int,
    steps: int,
    warmup_steps: int = 0,
    min_lr_ratio: float = 0.0,
    decay_fraction: float = 0.2,
) -> float:
    """Return the schedule `constant`, `cosine`, `linear`, `wsd` or `wsd-linear` at step.

    `wsd` is warmup_stable_decay with a decay of 1 - √ over the last decay_fraction of all steps,
    `wsd-linear` the same with a linear decay. The others ignore decay_fraction, and `constant`
    ignores min_lr_ratio.

    Raises:
        ValueError: there is no such schedule, or its numbers contradict each other.
    """
    match kind:
        case "constant":
            return constant(step, steps, warmup_steps)
        case "cosine":
            return cosine(step, steps, warmup_steps, min_lr_ratio)
        case "linear":
            return linear(step, steps, warmup_steps, min_lr_ratio)
        case "wsd" | "wsd-linear":
            shape = "1-sqrt" if kind == "wsd" else "linear"
            decay_steps = round(decay_fraction * steps)
            return warmup_stable_decay(step, steps, warmup_steps, min_lr_ratio, decay_steps, shape)
    raise ValueError(f"unknown schedule {kind!r}: take constant, cosine, linear, wsd or wsd-linear")


def constant(step: int, steps: int, warmup_steps: int = 0) -> float:
    """Return the multiplier at step: linear from 0 during warmup, then 1."""
    _check_numbers(steps, warmup_steps, min_lr_ratio=0.0)
    return step / warmup_steps if step < warmup_steps else 1.0


def cosine(step: int, steps: int, warmup_steps: int = 0, min_lr_ratio: float = 0.0) -> float:
    """Return the multiplier at step: linear warmup, then half a cosine down to min_lr_ratio.

    With w, c, r for warmup_steps, steps, min_lr_ratio (Loshchilov & Hutter 2017, 1608.03983):
    step/w below w, then r + (1 - r)(1 + cos(π (step - w)/(c - w)))/2, and r after c.
    """
    _check_numbers(steps, warmup_steps, min_lr_ratio)
    if step < warmup_steps:
        return step / warmup_steps
    if step >= steps:
        return min_lr_ratio
    angle = math.pi * (step - warmup_steps) / (steps - warmup_steps)
    return min_lr_ratio + (1 - min_lr_ratio) * (1 + math.cos(angle)) / 2


def linear(step: int, steps: int, warmup_steps: int = 0, min_lr_ratio: float = 0.0) -> float:
    """Return the multiplier at step: linear warmup, then a line down to min_lr_ratio."""
    decay_steps = steps - warmup_steps
    return warmup_stable_decay(step, steps, warmup_steps, min_lr_ratio, decay_steps, "linear")


def warmup_stable_decay(
    step: int,
    steps: int,
    warmup_steps: int = 0,
    min_lr_ratio: float = 0.0,
    decay_steps: int = 0,
    shape: Literal["1-sqrt", "linear"] = "1-sqrt",
) -> float:
    """Return the multiplier at step: linear warmup, then 1, then a decay to min_lr_ratio.

    The decay takes the last decay_steps. After a share x of it, 1 - √x of the way is left, or
    1 - x if it is linear (Hägele et al. 2024, 2405.18392).
    """
    _check_numbers(steps, warmup_steps, min_lr_ratio)
    if not 0 <= decay_steps <= steps - warmup_steps:
        raise ValueError(
            f"{decay_steps} steps of decay do not fit into {steps} steps with {warmup_steps} of "
            "warmup"
        )
    if step < warmup_steps:
        return step / warmup_steps
    if step >= steps:
        return min_lr_ratio
    done = max(0, step - (steps - decay_steps)) / max(1, decay_steps)
    left = 1 - (math.sqrt(done) if shape == "1-sqrt" else done)
    return min_lr_ratio + (1 - min_lr_ratio) * left


def _check_numbers(steps: int, warmup_steps: int, min_lr_ratio: float) -> None:
    if not 0 <= warmup_steps <= steps:
        raise ValueError(
            f"warmup_steps must be between 0 and the {steps} steps, not {warmup_steps}"
        )
    if not 0 <= min_lr_ratio <= 1:
        raise ValueError(f"min_lr_ratio must be between 0 and 1, not {min_lr_ratio}")

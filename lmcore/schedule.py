"""Schedules: from a step to a multiplier of the learning rate."""

import math


def cosine(step: int, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Return the multiplier at step: linear from 0 over warmup, then half a cosine to floor.

    With step counted from 0 and w, c for warmup, steps (Loshchilov & Hutter 2017, 1608.03983):
    step/w below w, then floor + (1 - floor)(1 + cos(π (step - w)/(c - w)))/2, after c floor.
    """
    if step < warmup:
        return step / warmup
    if step >= steps:
        return floor
    return floor + (1 - floor) * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2

"""How long does a step of AdamW take, ours and torch's three?

Usage: python benchmarks/optimizers.py [--rounds N]
Writes a Markdown table to standard output. The four take turns on the same parameters in one run,
so what else the machine does falls on all of them; the ratio is taken within each round.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from turns import machine

from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.training.adamw import AdamW

SHAPES = {
    "6 layers, d 512, vocabulary 16,000": (ModelConfig(vocab_size=16_000), 1),
    "1 layer, d 128, vocabulary 115": (
        ModelConfig(vocab_size=115, context_length=3, d_model=128, n_layers=1, n_heads=4, d_ff=512),
        50,
    ),
}
"""Whose parameters are stepped, and in how many steps a measurement."""

KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "ours": AdamW,
    "torch, fused": functools.partial(torch.optim.AdamW, fused=True),
    "torch, foreach": functools.partial(torch.optim.AdamW, foreach=True),
    "torch, one tensor at a time": functools.partial(torch.optim.AdamW, foreach=False),
}


def milliseconds(optimizer: torch.optim.Optimizer, steps: int) -> float:
    """Return the time of one step, the mean of steps."""
    started = time.perf_counter()
    for _ in range(steps):
        optimizer.step()
    return (time.perf_counter() - started) / steps * 1e3


def measure(parameters: list[nn.Parameter], steps: int, rounds: int) -> dict[str, list[float]]:
    """Return each kind's times over the rounds, without a first one that makes the states."""
    for p in parameters:
        p.grad = torch.randn_like(p)
    optimizers = {name: kind(parameters) for name, kind in KINDS.items()}
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    for _ in range(rounds + 1):
        for name, optimizer in optimizers.items():
            times[name].append(milliseconds(optimizer, steps))
    return {name: column[1:] for name, column in times.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="how often each takes its turn")
    rounds = parser.parse_args().rounds
    torch.manual_seed(0)
    print(machine("torch"))
    print(f"Medians of {rounds} rounds.\n")
    print("| parameters of | AdamW | ms a step | times torch's fused |")
    print("| --- | --- | --- | --- |")
    for shape, (config, steps) in SHAPES.items():
        times = measure(list(GPT(config).parameters()), steps, rounds)
        for name, column in times.items():
            pairs = zip(column, times["torch, fused"], strict=True)
            ratio = statistics.median(own / fused for own, fused in pairs)
            print(
                f"| {shape} | {name} | {statistics.median(column):.3f} | {ratio:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()

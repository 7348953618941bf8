"""How fast does a training step run, ours beside transformers' GPT-2 and a plain loop?

Usage: python benchmarks/training.py [--shapes a b small] [--rounds N] [--steps N]
Each contender runs in a fresh process, in turn, and writes a row of medians to standard output as
Markdown; the ratio is ours over it. What it wrote is kept in training.md beside it.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from lmcore.experiment import processor
from lmcore.model import GPT, ModelConfig
from lmcore.optimizer import clip_gradient
from lmcore.runtime import Runtime, keep_large_blocks
from lmcore.source import Batch
from lmcore.train import Stepper, TrainConfig

A = ModelConfig(vocab_size=16_000, activation="gelu_tanh", initialisation="gpt2", dropout=0.0)
SHAPES = {
    "a": (A, 64),
    "b": (
        replace(
            A, vocab_size=10_000, context_length=256, d_model=256, n_layers=4, n_heads=4, d_ff=1024
        ),
        32,
    ),
    "small": (
        replace(A, vocab_size=115, context_length=3, d_model=128, n_layers=1, n_heads=4, d_ff=512),
        512,
    ),
}
"""Each shape with its batch size; a batch is as long as the context."""

PLAN = TrainConfig(
    epochs=None, steps=1_000_000, optimizer="adamw", lr=3e-4, schedule="constant", evaluate_at=()
)
CONTENDERS = {
    "a": ("ours", "transformers float32", "transformers bfloat16"),
    "b": ("ours", "transformers float32", "transformers bfloat16"),
    "small": ("ours", "plain loop"),
}
Step = Callable[[torch.Tensor, torch.Tensor], float]


def ours(config: ModelConfig, batch_size: int) -> tuple[Step, str]:
    """Return our step with everything chosen by itself, and what was chosen."""
    keep_large_blocks()
    runtime = Runtime().resolve(1e15 if config.n_layers > 1 else 0)
    model = GPT(config).to(runtime.device).train()
    stepper = Stepper(model, replace(PLAN, batch_size=batch_size), runtime, PLAN.steps)
    count = 0

    def step(x: torch.Tensor, y: torch.Tensor) -> float:
        nonlocal count
        count += 1
        loss = stepper.gradient(Batch(x, y))
        stepper.update(count)
        return loss.item()

    return step, f"{runtime.precision}, {'compiled' if runtime.compile == 'yes' else 'eager'}"


def plain(config: ModelConfig, batch_size: int) -> tuple[Step, str]:
    """Return the step that one writes by hand, of the same model."""
    model = GPT(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    bfloat16 = Runtime().resolve(0).precision == "bfloat16"

    def step(x: torch.Tensor, y: torch.Tensor) -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = F.cross_entropy(model(x).flatten(0, 1).float(), y.flatten())
        loss.backward()
        clip_gradient(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step, f"{'bfloat16' if bfloat16 else 'float32'}, eager"


def transformers(config: ModelConfig, batch_size: int, precision: str) -> tuple[Step, str]:
    """Return the step of transformers' GPT-2 as its documentation writes it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size, n_positions=config.context_length, n_embd=config.d_model,
            n_layer=config.n_layers, n_head=config.n_heads, n_inner=config.d_ff,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )
    ).train()  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)

    def step(x: torch.Tensor, y: torch.Tensor) -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(input_ids=x, labels=x).loss  # it shifts the labels itself
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step, f"{precision}, eager"


def measure(contender: str, shape: str, n_steps: int) -> dict[str, float | str]:
    """Return the median step of a contender in this process, after as many steps to warm up."""
    config, batch_size = SHAPES[shape]
    torch.manual_seed(0)
    if contender == "ours":
        step, how = ours(config, batch_size)
    elif contender == "plain loop":
        step, how = plain(config, batch_size)
    else:
        step, how = transformers(config, batch_size, contender.split()[1])
    ids = np.random.default_rng(0).integers(
        0, config.vocab_size, (batch_size, config.context_length + 1)
    )
    batch = torch.from_numpy(ids)
    x, y = batch[:, :-1].contiguous(), batch[:, 1:].contiguous()
    for _ in range(3):
        loss = step(x, y)
    times = []
    for _ in range(n_steps):
        started = time.perf_counter()
        loss = step(x, y)
        times.append(time.perf_counter() - started)
    return {
        "how": how,
        "step_s": statistics.median(times),
        "tokens_per_s": batch_size * config.context_length / statistics.median(times),
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "ceiling": Runtime().resolve(0).product_speed(),
        "loss": loss,
    }


def rows(shape: str, rounds: int, n_steps: int) -> list[str]:
    """Return the table's rows for a shape, every contender run in turn in each round."""
    found: dict[str, list[dict]] = {name: [] for name in CONTENDERS[shape]}
    for _ in range(rounds):
        for name in found:
            command = [sys.executable, __file__, "--child", name, shape, str(n_steps)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout))

    def median(name: str, key: str) -> float:
        return statistics.median(each[key] for each in found[name])

    config, _ = SHAPES[shape]
    out = []
    for name, each in found.items():
        speed, peak = median(name, "tokens_per_s"), median(name, "peak_bytes")
        share = speed * config.flops_per_token / median(name, "ceiling")
        ratio = median("ours", "tokens_per_s") / speed
        memory = median("ours", "peak_bytes") / peak
        out.append(
            f"| {shape} | {name} | {each[0]['how']} | {speed:,.0f} | {ratio:.2f} | "
            f"{peak / 1e9:.2f} | {memory:.2f} | {share:.0%} |"
        )
    return out


def main() -> None:
    """Print the table, or be one contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="timed steps in each process")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        contender, shape, n_steps = given.child
        print(json.dumps(measure(contender, shape, int(n_steps))))
        return
    print(f"{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    print("| shape | contender | how | tokens/s | ours is times | peak GB | ours takes | MFU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for shape in given.shapes:
        print("\n".join(rows(shape, given.rounds, given.steps)), flush=True)


if __name__ == "__main__":
    main()

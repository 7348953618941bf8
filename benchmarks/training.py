"""How fast does a training step run, ours beside transformers' GPT-2 and plain ones?

Usage: python benchmarks/training.py [--shapes a b small gpt2] [--rounds N] [--steps N]
Writes the machine and a row for each contender to standard output, as Markdown: medians over the
steps and rounds, and the ratios of our speed and memory to theirs. Where there is a GPU it does the
work, its memory is what is told, and the peer is a plain GPT-2, compiled.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from plain_gpt import PlainGPT
from turns import in_turn, machine, median, report, seconds, start

from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.tasks.protocols import Batch
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from lmcore.training.gradients import clip_gradient
from lmcore.training.runtime import Runtime, keep_large_blocks
from lmcore.training.step import Stepper

A = ModelConfig(vocab_size=16_000, activation="gelu_tanh", initialisation="gpt2", dropout=0.0)
B = replace(A, vocab_size=10_000, context_length=256, d_model=256, n_layers=4, n_heads=4, d_ff=1024)
SMALL = replace(A, vocab_size=115, context_length=3, d_model=128, n_layers=1, n_heads=4, d_ff=512)
GPT2 = replace(
    A, vocab_size=50_304, context_length=1024, d_model=768, n_layers=12, n_heads=12, d_ff=3072
)
ON_CPU = ("ours", "transformers float32", "transformers bfloat16")
ON_GPU = ("ours", "plain GPT-2")
SHAPES = {
    "a": (A, 64, ON_CPU),
    "b": (B, 32, ON_CPU),
    "small": (SMALL, 512, ("ours", "plain loop")),
    "gpt2": (GPT2, 32, ON_GPU),
}
"""Each shape with its batch size and contenders; a row is as long as the context."""

PLAN = TrainConfig(
    steps=1_000_000,
    order="sequential",
    optimizer=OptimizerConfig(kind="adamw", lr=3e-4, weight_decay=0.0),
    schedule=ScheduleConfig(kind="constant"),
    evaluation=EvaluationConfig(eval_at=()),
)
Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
HAS_GPU = torch.cuda.is_available()


def ours(config: ModelConfig, batch_size: int) -> tuple[Step, str]:
    """Return our step with everything chosen by itself, and what was chosen."""
    keep_large_blocks()
    runtime = Runtime().resolve(config.flops_per_token * 1e7)
    model = GPT(config).to(runtime.device).train()
    stepper = Stepper(model, replace(PLAN, batch_size=batch_size), runtime, PLAN.steps)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = stepper.gradient(Batch(x, y))
        stepper.update(1)
        return loss

    return step, f"{runtime.precision}, {'compiled' if runtime.compile == 'yes' else 'eager'}"


def plain(config: ModelConfig, batch_size: int) -> tuple[Step, str]:
    """Return the step that one writes by hand, of the same model and in the same precision."""
    model = GPT(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    runtime = Runtime().resolve(0)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=runtime.precision == "bfloat16"):
            loss = F.cross_entropy(model(x).flatten(0, 1).float(), y.flatten())
        loss.backward()
        clip_gradient(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return step, f"{runtime.precision}, eager"


def plain_gpt2(config: ModelConfig, batch_size: int) -> tuple[Step, str]:
    """Return the compiled step of a plain GPT-2 on a GPU, in the way of nanoGPT."""
    torch.set_float32_matmul_precision("high")
    model = PlainGPT(config).cuda()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [{"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([{"params": matrices}, *vectors], lr=3e-4, fused=True)
    compiled = torch.compile(model)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            loss = compiled(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return step, "bfloat16, compiled"


def theirs(config: ModelConfig, batch_size: int, precision: str) -> tuple[Step, str]:
    """Return the step of transformers' GPT-2 as its documentation writes it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size, n_positions=config.context_length, n_embd=config.d_model,
            n_layer=config.n_layers, n_head=config.n_heads, n_inner=config.d_hidden,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )
    ).train()  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(input_ids=x, labels=x).loss  # it shifts the labels itself
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    return step, f"{precision}, eager"


def child(contender: str, shape: str, n_steps: int) -> None:
    """Report the median step of a contender in this process, after three steps to warm up.

    On a GPU, where a step that is waited for holds up the next, n_steps are timed at once.
    """
    config, batch_size, _ = SHAPES[shape]
    torch.manual_seed(0)
    kind, *precision = contender.split()
    if contender == "plain GPT-2":
        step, how = plain_gpt2(config, batch_size)
    else:
        step, how = {"ours": ours, "plain": plain, "transformers": theirs}[kind](
            config, batch_size, *(precision if kind == "transformers" else ())
        )
    size = (batch_size, config.context_length + 1)
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, config.vocab_size, size))
    batch = batch.cuda() if HAS_GPU else batch
    x, y = batch[:, :-1].contiguous(), batch[:, 1:].contiguous()

    def some(n: int) -> None:
        for _ in range(n):
            loss = step(x, y)
        assert loss.isfinite()  # which waits for a GPU

    some(3)
    at_once = n_steps if HAS_GPU else 1
    step_s = statistics.median(seconds(lambda: some(at_once)) / at_once for _ in range(n_steps))
    ceiling = Runtime(compile="no").resolve(0).product_speed()
    peak = {"peak_bytes": torch.cuda.max_memory_allocated()} if HAS_GPU else {}
    speed = batch_size * config.context_length / step_s
    report(how=how, tokens_per_s=speed, ceiling=ceiling, **peak)


def rows(shape: str, rounds: int, n_steps: int) -> list[str]:
    """Return the table's rows for a shape."""
    config, _, contenders = SHAPES[shape]
    contenders = ON_GPU if HAS_GPU else contenders
    found = in_turn(__file__, contenders, rounds, shape, n_steps)
    ceiling = statistics.median(each["ceiling"] for runs in found.values() for each in runs)
    own_speed, own_peak = (median(found["ours"], key) for key in ("tokens_per_s", "peak_bytes"))
    out = []
    for name, runs in found.items():
        speed, peak = median(runs, "tokens_per_s"), median(runs, "peak_bytes")
        out.append(
            f"| {shape} | {name} | {runs[0]['how']} | {speed:,.0f} | {own_speed / speed:.2f} | "
            f"{peak / 1e9:.2f} | {own_peak / peak:.2f} | "
            f"{speed * config.flops_per_token / ceiling:.0%} |"
        )
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["a", "b", "small"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="timed steps in each process")
    given = parser.parse_args()
    if "gpt2" in given.shapes and not HAS_GPU:
        parser.error("gpt2 is for a GPU, and torch sees none here: take a, b or small")
    print(machine("torch") if HAS_GPU else machine("torch", "transformers"))
    print(f"Medians of {given.rounds} processes with {given.steps} steps each.\n")
    print("| shape | contender | computed in | tokens/s | speed ratio | GB | memory ratio | MFU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for shape in given.shapes:
        print("\n".join(rows(shape, given.rounds, given.steps)), flush=True)


if __name__ == "__main__":
    start(main, child)

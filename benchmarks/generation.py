"""How many tokens a second, ours against transformers' GPT-2 with its cache, in turns?

Usage: python benchmarks/generation.py [--new-tokens N] [--rounds N] [--batches N ...]
Writes the machine and a row for each precision and batch to standard output, as Markdown: medians
over the rounds, and the quotient of the two. Both models are random, of one shape and in one
process; tokens are drawn from all at temperature 1, a few of them before the clock starts.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from lmcore import GPT, ModelConfig, generate

SHAPE = ModelConfig(
    vocab_size=10_000, context_length=1024, d_model=256, n_layers=4, n_heads=4, d_ff=1024,
    activation="gelu_tanh", initialisation="gpt2",
)  # fmt: skip
PROMPT = 8
"""Tokens in each prompt."""


def ours(dtype: torch.dtype) -> Callable[[torch.Tensor, int], None]:
    """Return what generates with our model."""
    model = GPT(SHAPE).eval().to(dtype)

    def run(prompts: torch.Tensor, n_new: int) -> None:
        found = generate(model, prompts.tolist(), n_new)
        assert [len(ids) for ids in found] == [n_new] * len(prompts)

    return run


def theirs(dtype: torch.dtype) -> Callable[[torch.Tensor, int], None]:
    """Return what generates with transformers' model; no token ends a text."""
    config = transformers.GPT2Config(
        vocab_size=SHAPE.vocab_size, n_positions=SHAPE.context_length, n_embd=SHAPE.d_model,
        n_layer=SHAPE.n_layers, n_head=SHAPE.n_heads, n_inner=SHAPE.d_ff, bos_token_id=None,
        eos_token_id=None,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval().to(dtype)

    def run(prompts: torch.Tensor, n_new: int) -> None:
        found = model.generate(
            prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=n_new, do_sample=True,
            top_k=0, use_cache=True, pad_token_id=0,
        )  # fmt: skip
        assert found.shape == (len(prompts), PROMPT + n_new)

    return run


def tokens_per_s(run: Callable[[torch.Tensor, int], None], batch: int, n_new: int) -> float:
    """Return how many tokens a second run makes for a batch of prompts."""
    prompts = torch.randint(SHAPE.vocab_size, (batch, PROMPT))
    started = time.perf_counter()
    run(prompts, n_new)
    return batch * n_new / (time.perf_counter() - started)


def machine() -> str:
    """Return the processor, the threads used, and the versions, in a line."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return f"{name}, {torch.get_num_threads()} threads, {versions}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--new-tokens", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    given = parser.parse_args()
    torch.manual_seed(0)
    print(f"{machine()}; {given.new_tokens} new tokens, medians of {given.rounds} rounds\n")
    print("| precision | batch | transformers, tokens/s | lmcore, tokens/s | quotient |")
    print("| --- | --- | --- | --- | --- |")
    for dtype in (torch.float32, torch.bfloat16):
        runs = [theirs(dtype), ours(dtype)]
        for batch in given.batches:
            for run in runs:
                tokens_per_s(run, batch, 3)
            rounds = [
                [tokens_per_s(run, batch, given.new_tokens) for run in runs]
                for _ in range(given.rounds)
            ]
            peer, own = (statistics.median(column) for column in zip(*rounds, strict=True))
            precision = str(dtype).removeprefix("torch.")
            print(
                f"| {precision} | {batch} | {peer:,.0f} | {own:,.0f} | {own / peer:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

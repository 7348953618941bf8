"""How many tokens a second, ours against transformers' GPT-2 with its cache?

Usage: python benchmarks/generation.py [--new-tokens N] [--rounds N] [--batches N ...]
Writes the machine and a row for each batch and contender to standard output, as Markdown: medians
over the rounds, and how many times as fast ours is. Models are random and of one shape; tokens are
drawn from all at temperature 1, a few of them before the clock starts.
"""

import argparse

import torch
from turns import in_turn, machine, median, report, seconds, start

from lmcore import GPT, ModelConfig, generate

SHAPE = ModelConfig(
    vocab_size=10_000, context_length=1024, d_model=256, n_layers=4, n_heads=4, d_ff=1024,
    activation="gelu_tanh", initialisation="gpt2",
)  # fmt: skip
PROMPT = 8
"""Tokens in each prompt."""

CONTENDERS = ("ours float32", "ours bfloat16", "transformers float32", "transformers bfloat16")


def ours(prompts: torch.Tensor, max_new_tokens: int, model: GPT) -> None:
    """Generate with our model."""
    found = generate(model, prompts.tolist(), max_new_tokens)
    assert [len(ids) for ids in found] == [max_new_tokens] * len(prompts)


def theirs(prompts: torch.Tensor, max_new_tokens: int, model: torch.nn.Module) -> None:
    """Generate with transformers' model; no token ends a text."""
    found = model.generate(
        prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=max_new_tokens,
        do_sample=True, top_k=0, use_cache=True, pad_token_id=0,
    )  # fmt: skip
    assert found.shape == (len(prompts), PROMPT + max_new_tokens)


def their_model() -> torch.nn.Module:
    """Return transformers' model of the shape."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=SHAPE.vocab_size, n_positions=SHAPE.context_length, n_embd=SHAPE.d_model,
            n_layer=SHAPE.n_layers, n_head=SHAPE.n_heads, n_inner=SHAPE.d_hidden, bos_token_id=None,
            eos_token_id=None,
        )
    )  # fmt: skip


def child(contender: str, batch: int, max_new_tokens: int) -> None:
    """Report how many tokens a second a contender makes for a batch of prompts."""
    kind, precision = contender.split()
    torch.manual_seed(0)
    model = (GPT(SHAPE) if kind == "ours" else their_model()).eval().to(getattr(torch, precision))
    work = ours if kind == "ours" else theirs
    prompts = torch.randint(SHAPE.vocab_size, (batch, PROMPT))
    work(prompts, 3, model)
    report(
        tokens_per_s=batch * max_new_tokens / seconds(lambda: work(prompts, max_new_tokens, model))
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--new-tokens", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    given = parser.parse_args()
    print(machine("torch", "transformers"))
    print(f"{given.new_tokens} new tokens a row, medians of {given.rounds} processes.\n")
    print(
        "| batch | contender | tokens/s | ours in float32, times this | our best, times this "
        "| peak, GB |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for batch in given.batches:
        found = in_turn(__file__, CONTENDERS, given.rounds, batch, given.new_tokens)
        speeds = {name: median(runs, "tokens_per_s") for name, runs in found.items()}
        best = max(speeds["ours float32"], speeds["ours bfloat16"])
        for name, speed in speeds.items():
            print(
                f"| {batch} | {name} | {speed:,.0f} | {speeds['ours float32'] / speed:.2f} | "
                f"{best / speed:.2f} | {median(found[name], 'peak_bytes') / 1e9:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    start(main, child)

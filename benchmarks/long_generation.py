"""Does a token take longer in a long text than in a short one, by more than attention explains?

Usage: python benchmarks/long_generation.py [--batch N] [--lengths N ...]
Generates texts of several lengths with a small model, with RoPE and without positions, and times
attention alone on keys and values of the same shapes. Every run is a fresh process with one
thread, and processor time is counted. Writes long_generation.json and .md beside this file, or to
--to.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from turns import in_turn, machine, report, start, write_down

from lmcore import GPT, ModelConfig, generate

PROMPT = 8
"""Tokens in each prompt."""

LOOKS = 32
"""Lengths of text at which attention alone is timed, evenly spread."""

CONTENDERS = {"RoPE": "rope", "no positions": "none"}
HEADER = (
    "| texts | new tokens | positions | microseconds a token | of which attention | rest "
    "| peak, MB |"
)


def cpu_s(work: Callable[[], object]) -> float:
    """Return the processor time of work."""
    started = time.process_time()
    work()
    return time.process_time() - started


def attention_s(config: ModelConfig, batch: int, new_tokens: int) -> float:
    """Return the seconds of attention in generating new_tokens of each text."""
    shape = (batch, config.n_heads, PROMPT + new_tokens, config.d_head)
    query, keys, values = torch.randn(batch, config.n_heads, 1, shape[-1]), *torch.randn(2, *shape)
    total = 0.0
    for look in range(LOOKS):
        n = PROMPT + (2 * look + 1) * new_tokens // (2 * LOOKS)
        k, v = keys.narrow(2, 0, n), values.narrow(2, 0, n)
        F.scaled_dot_product_attention(query, k, v)
        total += min(
            cpu_s(lambda k=k, v=v: F.scaled_dot_product_attention(query, k, v)) for _ in range(3)
        )
    return config.n_layers * total / LOOKS * new_tokens


def child(contender: str, batch: int, new_tokens: int) -> None:
    """Report how long a token takes, and attention in it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=256, context_length=PROMPT + new_tokens, d_model=32, n_layers=1, n_heads=2,
        positions=CONTENDERS[contender],
    )  # fmt: skip
    model, prompts = GPT(config).eval(), torch.randint(256, (batch, PROMPT)).tolist()
    generate(model, prompts, 3)
    took = cpu_s(lambda: generate(model, prompts, new_tokens))
    n = batch * new_tokens
    report(token_us=1e6 * took / n, attention_us=1e6 * attention_s(config, batch, new_tokens) / n)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lengths", type=int, nargs="+", default=[200, 5_000])
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(""))
    given = parser.parse_args()
    rows, lines = [], []
    for new_tokens in given.lengths:
        found = in_turn(__file__, list(CONTENDERS), 1, given.batch, new_tokens)
        for name, [run] in found.items():
            rows.append({"batch": given.batch, "new_tokens": new_tokens, "positions": name} | run)
            rest = run["token_us"] - run["attention_us"]
            lines.append(
                f"| {given.batch} | {new_tokens:,} | {name} | {run['token_us']:.1f} "
                f"| {run['attention_us']:.1f} | {rest:.1f} | {run['peak_bytes'] / 1e6:.0f} |"
            )
    write_down(given.to, machine("torch"), rows, HEADER, lines)


if __name__ == "__main__":
    start(main, child)

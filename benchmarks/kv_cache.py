"""How much does the key-value cache save, the longer the text?

Usage: python benchmarks/kv_cache.py [--lengths N ...] [--rounds N]
Writes the machine and a row for each length to standard output, as Markdown: seconds of one
processor for one text of N tokens with the cache and without it, medians over the rounds. Processor
time and not the clock, so that other work on the machine counts less. Without the cache the model
reads the whole text again for each new token, and computes the logits of the last place alone.
"""

import argparse
import statistics
import time

import torch
from generation import SHAPE
from turns import machine

from lmcore import GPT, generate


def with_cache(model: GPT, length: int) -> None:
    """Generate length tokens after one, by `generate`."""
    assert len(generate(model, [0], length)) == length


@torch.no_grad()
def without_cache(model: GPT, length: int) -> None:
    """Generate length tokens after one; each reads all tokens before it."""
    ids = torch.zeros(1, 1, dtype=torch.long)
    for _ in range(length):
        probabilities = model(ids, last=1)[0].float().softmax(-1)
        ids = torch.cat([ids, torch.multinomial(probabilities, 1)], dim=1)


def cpu_s(work: object, model: GPT, length: int, rounds: int) -> float:
    """Return the median processor time of some rounds of work in seconds."""
    assert callable(work)
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work(model, length)
        times.append(time.process_time() - started)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64, 256, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPT(SHAPE).eval()
    with_cache(model, 8)
    without_cache(model, 8)
    print(machine("torch"))
    print(f"One thread, float32, medians of {given.rounds} rounds.\n")
    print("| new tokens | with the cache, s | without it, s | times as long |")
    print("| --- | --- | --- | --- |")
    for length in given.lengths:
        fast, slow = (cpu_s(w, model, length, given.rounds) for w in (with_cache, without_cache))
        print(f"| {length:,} | {fast:.2f} | {slow:.2f} | {slow / fast:.1f} |", flush=True)


if __name__ == "__main__":
    main()

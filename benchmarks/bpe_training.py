"""How long does BPE training take, and how much memory, beside tokenizers and rustbpe?

Usage: python benchmarks/bpe_training.py TEXT [--sizes N ...] [--repeats N] [--workers N]
Every run is a fresh process that reads the file and trains; contenders take turns, so that what
else the machine does falls on all of them alike. A run of ours before the first compiles the loops,
which is done once after an installation; it is told, not counted. Writes a Markdown table.
"""

import argparse
from pathlib import Path

from contest import contest
from turns import machine

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

LMCORE = """
from lmcore.bpe import train_bpe
vocab, merges = train_bpe(text, size, [END], workers=workers)
entries = len(vocab)
"""
TOKENIZERS = """
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
trainer = trainers.BpeTrainer(
    vocab_size=size,
    special_tokens=[END],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
)
tokenizer.train([text], trainer)
entries = tokenizer.get_vocab_size()
"""
RUSTBPE = f"""
import rustbpe
tokenizer = rustbpe.Tokenizer()
with open(text, encoding="utf-8", newline="") as lines:
    tokenizer.train_from_iterator(lines, size - 1, pattern={PATTERN!r})
entries = 1 + tokenizer.vocab_size
"""
CONTENDERS = {"lmcore": LMCORE, "tokenizers": TOKENIZERS, "rustbpe": RUSTBPE}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 32_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="threads for each contender")
    given = parser.parse_args()
    print(machine("numba", "tokenizers", "rustbpe"))
    print(f"{given.text.name}, {given.text.stat().st_size / 1e6:.1f} MB\n")
    print("| entries | contender | seconds, median | least | most | times ours | peak, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for size in given.sizes:
        setting = {"text": str(given.text), "size": size, "workers": given.workers}
        runs = contest(CONTENDERS, setting, "entries", given.repeats)
        ours = runs["lmcore"].seconds
        for name, run in runs.items():
            print(
                f"| {size} | {name} | {run.seconds:.2f} | {run.least:.2f} | {run.most:.2f} "
                f"| {run.seconds / ours:.2f} | {run.peak_bytes / 1e6:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

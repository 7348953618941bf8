"""How much memory does BPE training take for each distinct word, and for each byte without blanks?

Usage: python benchmarks/tokenizer_memory.py [--size N] [--workers N] [--words N ...]
    [--letters N ...]
Trains on texts of distinct random words of eight letters; of random letters without a blank, which
are one word; and of one letter repeated, the hardest text without a blank. Every run is a fresh
process. The peak of a process that trains on a small text of the same kind is subtracted before the
rest is divided by words and bytes. Writes tokenizer_memory.json and .md beside this file, or to
--to.
"""

import argparse
import random
import string
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from turns import in_turn, machine, report, row, start, write_down

HEADER = "| text | MB | distinct words | seconds | peak, MB | bytes a word | bytes a byte |"


def distinct_words(n: int) -> Iterator[str]:
    """Yield n distinct words of eight random letters."""
    rng, seen = random.Random(0), set()
    while len(seen) < n:
        word = "".join(rng.choices(string.ascii_lowercase, k=8))
        if word not in seen:
            seen.add(word)
            yield word


def text_of(kind: str, n: int) -> str:
    """Return a text of n words or letters."""
    if kind == "random words":
        return " ".join(distinct_words(n))
    if kind == "random letters":
        return "".join(random.Random(0).choices(string.ascii_lowercase, k=n))
    return "a" * n


def child(kind: str, n: int, size: int, workers: int, folder: str) -> None:
    """Train on the text in folder and report the memory it took."""
    from lmcore import train_bpe

    warnings.simplefilter("ignore")
    train_bpe(Path(folder) / f"{n} {kind}.txt", size, workers=workers)
    report()


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--words", type=int, nargs="+", default=[1_000_000, 2_000_000])
    parser.add_argument("--letters", type=int, nargs="+", default=[4_000_000, 8_000_000])
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(""))
    given = parser.parse_args()
    plan = {
        "random words": given.words,
        "random letters": given.letters,
        "one letter": given.letters,
    }
    rows, lines = [], []
    with tempfile.TemporaryDirectory() as folder:
        for kind, numbers in plan.items():
            own, smallest = 0, 50_000 if kind == "random words" else 300_000  # compiled code runs
            for n in (smallest, *numbers):
                text = Path(folder) / f"{n} {kind}.txt"
                text.write_text(text_of(kind, n), encoding="utf-8")
                n_bytes = text.stat().st_size
                n_words = n if kind == "random words" else 1
                rounds = 2 if n == smallest else 1  # the first one may compile
                *_, last = in_turn(__file__, [kind], rounds, n, given.size, given.workers, folder)[
                    kind
                ]
                if n == smallest:
                    own = last["peak_bytes"]
                    continue
                facts = {"kind": kind, "bytes": n_bytes, "words": n_words, "own_bytes": own}
                rows.append(row([last], "process_s", **facts))
                more = rows[-1]["peak_bytes"] - own
                per_word = f"{more / n_words:.0f}" if n_words > 1 else "–"
                lines.append(
                    f"| {kind} | {n_bytes / 1e6:.1f} | {n_words:,} | {last['process_s']:.1f} "
                    f"| {rows[-1]['peak_bytes'] / 1e6:.0f} | {per_word} | {more / n_bytes:.0f} |"
                )
    write_down(given.to, machine("numba"), rows, HEADER, lines)


if __name__ == "__main__":
    start(main, child)

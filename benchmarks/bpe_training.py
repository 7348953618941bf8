"""How long does BPE training take, and how much memory, beside tokenizers and rustbpe?

Usage: python benchmarks/bpe_training.py TEXT ... [--sizes N ...] [--repeats N] [--workers N]
Every run is a fresh process, timed from its start to its end; contenders take turns, so that what
else the machine does falls on all of them alike. A run of ours before the first compiles the loops,
which is done once after an installation and not counted. Last come 500 entries from the first
130 kB of the last text. Writes bpe_training.json and bpe_training.md beside this file, or to --to.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

from turns import beginning, in_turn, limit_threads, machine, median, report, row, start, write_down

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
END = "<|endoftext|>"


def lmcore(text: Path, size: int, workers: int) -> int:
    """Train our tokenizer; return its entries."""
    from lmcore import train_bpe

    warnings.simplefilter("ignore")  # a small text fills fewer entries: that is told in a column
    return len(train_bpe(text, size, [END], workers=workers)[0])


def tokenizers(text: Path, size: int, workers: int) -> int:
    """Train Hugging Face's tokenizer; return its entries."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(text)], trainer)
    return tokenizer.get_vocab_size()


def rustbpe(text: Path, size: int, workers: int) -> int:
    """Train rustbpe's tokenizer, to which a special token is added afterwards."""
    from rustbpe import Tokenizer

    tokenizer = Tokenizer()
    with text.open(encoding="utf-8", newline="") as lines:
        tokenizer.train_from_iterator(lines, size - 1, pattern=PATTERN)
    return 1 + tokenizer.vocab_size


CONTENDERS = {"lmcore": lmcore, "tokenizers": tokenizers, "rustbpe": rustbpe}


HEADER = (
    "| text | entries | contender | seconds, median | least | most | times ours | peak, MB "
    "| entries reached |"
)


def child(contender: str, text: str, size: int, workers: int) -> None:
    """Report how many entries a contender reaches."""
    limit_threads(workers)
    report(entries=CONTENDERS[contender](Path(text), size, workers))


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXT")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 32_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="threads for each contender")
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(""))
    given = parser.parse_args()
    rows, lines = [], []
    with tempfile.TemporaryDirectory() as folder:
        small = beginning(given.texts[-1], 130_000, Path(folder))
        plan = [(text, size) for text in given.texts for size in given.sizes] + [(small, 500)]
        for text, size in plan:
            arguments = (str(text), size, given.workers)
            in_turn(__file__, ["lmcore"], 1, *arguments)
            found = in_turn(__file__, CONTENDERS, given.repeats, *arguments)
            for name, runs in found.items():
                facts = {"text": text.name, "bytes": text.stat().st_size, "size": size}
                facts |= {"contender": name, "workers": given.workers}
                rows.append(row(runs, "process_s", **facts, entries=runs[-1]["entries"]))
                took, peak = rows[-1]["seconds"], rows[-1]["peak_bytes"]
                times = median(runs, "process_s") / median(found["lmcore"], "process_s")
                lines.append(
                    f"| {text.name} | {size:,} | {name} | {median(runs, 'process_s'):.2f} "
                    f"| {min(took):.2f} | {max(took):.2f} | {times:.2f} | {peak / 1e6:.0f} "
                    f"| {runs[-1]['entries']:,} |"
                )
    write_down(given.to, machine("numba", "tokenizers", "rustbpe"), rows, HEADER, lines)


if __name__ == "__main__":
    start(main, child)

"""How do time and memory of BPE training and of encoding grow with the text and with the merges?

Usage: python benchmarks/tokenizer_scaling.py TEXT [--size N] [--repeats N] [--workers N]
Trains on beginnings of the text, each twice as long as the one before, up to all of it and, in the
first round only, to 4 and 16 copies; with twice as many entries each time; and encodes each of the
beginnings to a file. Every run is a fresh process, all kinds take turns, and the clock runs from
its start to its end. Writes tokenizer_scaling.json and .md beside this file, or to --to.
"""

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from turns import beginning, in_turn, machine, report, row, start, write_down

END = "<|endoftext|>"
TRAINING, ENCODING, PREPARING = "training", "encoding", "preparing"
SMALLEST = 10**6
COPIES = (4, 16)
SIZES = (257, *(1_000 * 2**i for i in range(7)))
"""The first of them is a single merge, so nearly all of its time is reading."""
HEADER = "| | MB | entries | seconds, median | least | most | peak, MB |"


def child(kind: str, text: str, copies: int, size: int, workers: int, folder: str) -> None:
    """Do what kind says, and report the memory it took."""
    from lmcore import Tokenizer, train_bpe
    from lmcore.data.token_files import write_text

    warnings.simplefilter("ignore")
    if kind == ENCODING:
        tokenizer = Tokenizer.load(folder)
        write_text(Path(folder) / "ids.npy", Path(text), tokenizer, END, workers=workers)
    else:
        vocab, merges = train_bpe([Path(text)] * copies, size, [END], workers=workers)
        if kind == PREPARING:
            Tokenizer(vocab, merges, [END]).save(folder)
    report()


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(""))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        points = list(plan(given.text, given.size, Path(folder)))
        common = (given.workers, folder)
        in_turn(__file__, [PREPARING, ENCODING], 1, str(given.text), 1, given.size, *common)
        found: list[list[dict]] = [[] for _ in points]
        for number in range(given.repeats):
            for (kind, text, copies, size), runs in zip(points, found, strict=True):
                if number == 0 or copies == 1:
                    runs += in_turn(__file__, [kind], 1, str(text), copies, size, *common)[kind]
        rows = [
            row(
                runs,
                "process_s",
                kind=kind,
                bytes=text.stat().st_size * copies,
                copies=copies,
                size=size,
                workers=given.workers,
            )
            for (kind, text, copies, size), runs in zip(points, found, strict=True)
        ]
    lines = [
        f"| {each['kind']} | {each['bytes'] / 1e6:.1f} | {each['size']:,} "
        f"| {statistics.median(each['seconds']):.2f} | {min(each['seconds']):.2f} "
        f"| {max(each['seconds']):.2f} | {each['peak_bytes'] / 1e6:.0f} |"
        for each in rows
    ]
    write_down(given.to, machine("numba"), rows, HEADER, lines)


def plan(text: Path, size: int, folder: Path) -> Iterator[tuple[str, Path, int, int]]:
    """Yield what is measured: its kind, text, copies of the text, and entries."""
    n_bytes, shorter = text.stat().st_size, []
    while n_bytes // 2 ** (len(shorter) + 1) >= SMALLEST:
        shorter.append(beginning(text, n_bytes // 2 ** (len(shorter) + 1), folder))
    for part in (*reversed(shorter), text):
        yield TRAINING, part, 1, size
        yield ENCODING, part, 1, size
    for copies in COPIES:
        yield TRAINING, text, copies, size
    for entries in SIZES:
        yield TRAINING, text, 1, entries


if __name__ == "__main__":
    start(main, child)

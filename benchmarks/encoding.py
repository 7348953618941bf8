"""How fast is a text encoded into a uint16 file, and with how much memory, beside peers?

Usage: python benchmarks/encoding.py TEXT ... [--sizes N ...] [--repeats N] [--workers N ...]
Trains one tokenizer for each text and size, then every run is a fresh process that reads the text,
encodes it and writes its ids; contenders take turns, tokenizers in the first round only. The clock
runs from opening the text to closing the file, without imports and loading the tokenizer; ours
loads its compiled loops, hashes text and ids and writes a record within that time. All must write
the same ids, as their hashes show; rustbpe takes no given merges and is left out. Writes
encoding.json and encoding.md beside this file, or to --to.
"""

import argparse
import hashlib
import itertools
import json
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from turns import in_turn, limit_threads, machine, median, report, row, seconds, start, write_down

Merges = list[tuple[bytes, bytes]]
Write = Callable[[Path, Path], object]
"""Writes the ids of a text file to another file."""

NPY_HEADER = 128
"""The bytes before the ids in our files."""

PARTS = 16
"""Into how many parts a text is cut for a peer with several threads."""


def lmcore(merges: Merges, workers: int) -> Write:
    """Return our way to write a token file."""
    from lmcore import Tokenizer
    from lmcore.data.token_files import write_text

    tokenizer = Tokenizer(dict(enumerate(vocabulary(merges))), merges)
    return lambda text, target: write_text(target, text, tokenizer, workers=workers)


def tiktoken(merges: Merges, workers: int) -> Write:
    """Return tiktoken's encoder of our merges."""
    import tiktoken

    from lmcore.tokenizer.pretokens import GPT2_PATTERN

    encoding = tiktoken.Encoding(
        "peer",
        pat_str=GPT2_PATTERN,
        mergeable_ranks={token: rank for rank, token in enumerate(vocabulary(merges))},
        special_tokens={},
    )

    def encode(text: Path) -> Iterable:
        if workers == 1:
            return [encoding.encode_ordinary(whole(text))]
        return encoding.encode_ordinary_batch(cut(whole(text)), num_threads=workers)

    return writing(encode)


def tokenizers(merges: Merges, workers: int) -> Write:
    """Return the encoder of Hugging Face's tokenizers with our merges."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    shown = {byte: chr(byte) for byte in printable}
    shown |= {byte: chr(256 + i) for i, byte in enumerate(others)}

    def show(token: bytes) -> str:
        return "".join(shown[byte] for byte in token)

    ranks = {show(token): rank for rank, token in enumerate(vocabulary(merges))}
    tokenizer = Tokenizer(
        models.BPE(vocab=ranks, merges=[(show(left), show(right)) for left, right in merges])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def encode(text: Path) -> Iterable:
        return (found.ids for found in tokenizer.encode_batch_fast(cut(whole(text))))

    return writing(encode)


def vocabulary(merges: Merges) -> list[bytes]:
    """Return all tokens in the order of their ranks."""
    return [bytes([byte]) for byte in range(256)] + [left + right for left, right in merges]


def whole(text: Path) -> str:
    """Return the text in a file, its line ends as they are."""
    with text.open(encoding="utf-8", newline="") as file:
        return file.read()


def cut(text: str) -> list[str]:
    """Return text in parts that end where a word does, so that ids do not change."""
    find = re.compile(r"(?<=\S) ").search
    inner = [find(text, i * len(text) // PARTS).start() for i in range(1, PARTS)]
    cuts = [0, *inner, len(text)]
    return [text[a:b] for a, b in itertools.pairwise(cuts)]


CONTENDERS = {"lmcore": lmcore, "tiktoken": tiktoken, "tokenizers": tokenizers}
TRAINING = "training"
"""What stands in a contender's place before all of them."""


def writing(encode: Callable[[Path], Iterable]) -> Write:
    """Return what writes the ids that encode gives of a text, part by part."""

    def write(text: Path, target: Path) -> None:
        with target.open("wb") as out:
            for ids in encode(text):
                out.write(np.asarray(ids, dtype=np.uint16).data)

    return write


def store_merges(text: Path, size: int, workers: int, stored: Path) -> None:
    """Train the tokenizer that all use."""
    from lmcore import train_bpe

    warnings.simplefilter("ignore")
    _, merges = train_bpe(text, size, workers=workers)
    stored.write_text(json.dumps([[left.hex(), right.hex()] for left, right in merges]))


def child(contender: str, text: str, folder: str, size: int, workers: int) -> None:
    """Report how long a contender takes from the text to a file of ids, and the file's hash."""
    limit_threads(workers)
    stored, target = Path(folder) / "merges.json", Path(folder) / "ids.npy"
    if contender == TRAINING:
        store_merges(Path(text), size, workers, stored)
        report()
        return
    pairs = json.loads(stored.read_text())
    merges = [(bytes.fromhex(left), bytes.fromhex(right)) for left, right in pairs]
    write = CONTENDERS[contender](merges, workers)
    took = seconds(partial(write, Path(text), target))
    with target.open("rb") as file:
        file.seek(NPY_HEADER if contender == "lmcore" else 0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    report(seconds=took, ids=digest)


HEADER = (
    "| text | entries | threads | contender | MB/s, median | least | most | times tiktoken "
    "| peak, MB | ids |"
)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("texts", type=Path, nargs="+", metavar="TEXT")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 32_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--to", type=Path, default=Path(__file__).with_suffix(""))
    given = parser.parse_args()
    rows, lines = [], []
    for text, size in itertools.product(given.texts, given.sizes):
        with tempfile.TemporaryDirectory() as folder:
            common, megabytes = (str(text), folder, size), text.stat().st_size / 1e6
            in_turn(__file__, [TRAINING], 1, *common, max(given.workers))
            for workers in given.workers:
                in_turn(__file__, ["lmcore"], 1, *common, workers)
                slow = ["tokenizers"]
                found = in_turn(__file__, CONTENDERS, given.repeats, *common, workers, once=slow)
                for name, runs in found.items():
                    facts = {"text": text.name, "bytes": text.stat().st_size, "size": size}
                    facts |= {"contender": name, "workers": workers}
                    rows.append(row(runs, "seconds", **facts, ids=runs[-1]["ids"]))
                    took, peak = rows[-1]["seconds"], rows[-1]["peak_bytes"]
                    times = median(found["tiktoken"], "seconds") / median(runs, "seconds")
                    lines.append(
                        f"| {text.name} | {size:,} | {workers} | {name} "
                        f"| {megabytes / median(runs, 'seconds'):.1f} "
                        f"| {megabytes / max(took):.1f} | {megabytes / min(took):.1f} "
                        f"| {times:.2f} | {peak / 1e6:.0f} | {runs[-1]['ids']} |"
                    )
    write_down(given.to, machine("numba", "tiktoken", "tokenizers"), rows, HEADER, lines)


if __name__ == "__main__":
    start(main, child)

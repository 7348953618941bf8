"""How fast is a text encoded into a uint16 file, and with how much memory, beside peers?

Usage: python benchmarks/encoding.py TEXT [--size N] [--repeats N] [--workers N ...]
Trains one tokenizer, then every run is a fresh process that reads the text, encodes it and writes
its ids; contenders take turns. The clock runs from opening the text to closing the file, without
imports and loading the tokenizer; ours loads its compiled loops within that time. All must write
the same ids, as their hashes show; rustbpe takes no given merges and is left out. Writes a table.
"""

import argparse
import tempfile
from pathlib import Path

from contest import contest, run
from turns import machine

TRAIN = """
from lmcore.bpe import train_bpe
vocab, merges = train_bpe(text, size, workers=workers)
with open(stored, "w") as file:
    json.dump([[left.hex(), right.hex()] for left, right in merges], file)
"""
LOAD = """
import numpy as np, re
find = re.compile(r"(?<=\\S) ").search
merges = [tuple(map(bytes.fromhex, pair)) for pair in json.load(open(stored))]
"""
TIMED = """
ready = time.perf_counter()
{work}
spent = time.perf_counter() - ready
import hashlib
digest = hashlib.file_digest(open(target, "rb"), "sha256").hexdigest()[:12]
"""
LMCORE = """
with open(target, "wb") as out:
    [blocks] = texts_in_blocks(text)
    for ranks in encoder.encode_many((piece for piece, _ in pieces(blocks)), workers):
        out.write(ranks.astype(np.uint16).data)
"""
TIKTOKEN = """
with open(text, encoding="utf-8", newline="") as file, open(target, "wb") as out:
    whole = file.read()
    if workers == 1:
        parts = [encoding.encode_ordinary(whole)]
    else:
        cuts = [0, *(find(whole, i * len(whole) // 16).start() for i in range(1, 16)), len(whole)]
        batch = [whole[a:b] for a, b in zip(cuts, cuts[1:])]
        parts = encoding.encode_ordinary_batch(batch, num_threads=workers)
    for ids in parts:
        out.write(np.array(ids, dtype=np.uint16).data)
"""
TOKENIZERS = """
with open(text, encoding="utf-8", newline="") as file, open(target, "wb") as out:
    whole = file.read()
    cuts = [0, *(find(whole, i * len(whole) // 16).start() for i in range(1, 16)), len(whole)]
    batch = [whole[a:b] for a, b in zip(cuts, cuts[1:])]
    for encoded in tokenizer.encode_batch_fast(batch):
        out.write(np.array(encoded.ids, dtype=np.uint16).data)
"""
SET_UP = {
    "lmcore": """
from lmcore.encoder import Encoder
from lmcore.pretokens import pieces, texts_in_blocks
encoder = Encoder(merges)
""",
    "tiktoken": """
import tiktoken
from lmcore.pretokens import GPT2_PATTERN
tokens = [bytes([i]) for i in range(256)] + [left + right for left, right in merges]
encoding = tiktoken.Encoding(
    "peer",
    pat_str=GPT2_PATTERN,
    mergeable_ranks={token: rank for rank, token in enumerate(tokens)},
    special_tokens={},
)
""",
    "tokenizers": """
from tokenizers import Tokenizer, models, pre_tokenizers
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
others = [byte for byte in range(256) if byte not in printable]
shown = {byte: chr(byte) for byte in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
show = lambda token: "".join(shown[byte] for byte in token)
tokens = [bytes([i]) for i in range(256)] + [left + right for left, right in merges]
tokenizer = Tokenizer(
    models.BPE(
        vocab={show(token): rank for rank, token in enumerate(tokens)},
        merges=[(show(left), show(right)) for left, right in merges],
    )
)
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
""",
}
WORK = {"lmcore": LMCORE, "tiktoken": TIKTOKEN, "tokenizers": TOKENIZERS}
CONTENDERS = {name: LOAD + SET_UP[name] + TIMED.format(work=WORK[name]) for name in WORK}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--size", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    n_bytes = given.text.stat().st_size
    print(machine("numba", "tiktoken", "tokenizers"))
    print(f"{given.text.name}, {n_bytes / 1e6:.1f} MB, {given.size} entries\n")
    print("| threads | contender | MB/s, median | least | most | times tiktoken | peak, MB | ids |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        setting = {
            "text": str(given.text),
            "size": given.size,
            "stored": str(Path(folder) / "merges.json"),
            "target": str(Path(folder) / "ids.bin"),
        }
        run(TRAIN, setting | {"workers": max(given.workers)}, "None")
        for workers in given.workers:
            runs = contest(CONTENDERS, setting | {"workers": workers}, "digest", given.repeats)
            for name, one in runs.items():
                rates = [n_bytes / 1e6 / seconds for seconds in (one.seconds, one.most, one.least)]
                ratio = runs["tiktoken"].seconds / one.seconds
                print(
                    f"| {workers} | {name} | {rates[0]:.1f} | {rates[1]:.1f} | {rates[2]:.1f} "
                    f"| {ratio:.2f} | {one.peak_bytes / 1e6:.0f} | {one.result} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""lmcore prepare: any text to a tokenizer and token files."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from lmcore.data.sources import Reading
from lmcore.experiments.environment import peak_bytes
from lmcore.tasks.prepared_text import PrepareConfig, PreparedText, prepare, sample_tokens
from lmcore.tokenizer.saved_tokenizer import load_tokenizer
from lmcore.training.runtime import Runtime

DEFAULTS = PrepareConfig()


def run(
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")],
    out: Path,
    validation: tuple[str, ...] = (),
    validation_fraction: float = DEFAULTS.validation_fraction,
    vocab_size: int = DEFAULTS.vocab_size,
    tokenizer: Path | None = None,
    special: tuple[str, ...] = DEFAULTS.special_tokens,
    seed: int = DEFAULTS.seed,
    reading: Annotated[Reading, tyro.conf.OmitArgPrefixes] = DEFAULTS.reading,
) -> None:
    """Tokenize a text for training: train a tokenizer, split the text, write token files.

    Files that are there and still match are kept.

    Args:
        text: Text files, JSON lines, CSV, Parquet (also .gz and .zst), folders, or hub:owner/name.
        out: Folder to write.
        validation: Texts to validate with, instead of a share of TEXT.
        validation_fraction: Share of TEXT kept for validation.
        vocab_size: Entries of the tokenizer to train: special tokens, 256 bytes and merges.
        tokenizer: Use this tokenizer: a folder with tokenizer.json or GPT-2's vocab.json and
            merges.txt.
        special: Special tokens; the first one ends every document.
        seed: Decides which documents validate.
        reading: How files become documents.
    """
    config = PrepareConfig(
        vocab_size=vocab_size,
        special_tokens=special,
        validation_fraction=validation_fraction,
        seed=seed,
        reading=reading,
    )
    given = None if tokenizer is None else load_tokenizer(tokenizer, special)
    prepared = prepare(
        text, out, config, validation=validation, tokenizer=given, progress=sys.stderr.isatty()
    )
    print(summary(prepared))


def summary(prepared: PreparedText) -> str:
    """Return in a few lines what was made, how well it compresses, and how fast it went."""
    report, train, valid = prepared.report, prepared.train.info, prepared.validation.info
    asked = report["asked_vocab_size"]
    short = asked is not None and report["vocab_size"] < asked
    note = f", not {asked:,}: the text has no more pairs to merge" if short else ""
    peak = peak_bytes(dataclasses.replace(Runtime(), device="cpu"))
    tokens = " ".join(map(repr, sample_tokens(prepared)))
    before = (
        " (prepared before with the same settings, left as it is)" if prepared.was_there else ""
    )
    return "\n".join(
        [
            f"{prepared.folder}: {report['split']}{before}",
            f"train       {train.n_tokens:>13,} tokens in {train.n_documents:,} documents, "
            f"{report['bytes_per_token']:.2f} bytes per token",
            f"validation  {valid.n_tokens:>13,} tokens in {valid.n_documents:,} documents, "
            f"{report['validation_bytes_per_token']:.2f} bytes per token",
            f"vocabulary  {report['vocab_size']:>13,} entries{note}; every byte has one, so no "
            "text is unknown",
            f"tokenizer {report['tokenizer_s']:.1f} s, encoding {report['encoding_mb_per_s']:.1f} "
            f"MB/s{f', peak memory {peak / 1e6:,.0f} MB' if peak else ''}",
            f"first tokens: {tokens}",
            f"next: lmcore train {prepared.folder} --out RUN",
        ]
    )

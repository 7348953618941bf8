"""Any text, made ready to train on: a tokenizer and token files of both splits in one folder."""

import hashlib
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lmcore.boundary import Natural, checked, convert_fields
from lmcore.data.sources import BLOCK, Reading, SourceFile, described, documents, files_of
from lmcore.data.token_files import Tokens, load_tokens, outputs, write_documents
from lmcore.files import read_json, require_apart, require_folder, write_json
from lmcore.locks import locked, remove_leftovers
from lmcore.tokenizer.base import BaseTokenizer
from lmcore.tokenizer.byte_bpe import Tokenizer
from lmcore.tokenizer.saved_tokenizer import load_tokenizer

FORMAT = 1
"""Version of what a prepared folder holds."""

MANIFEST = "prepared.json"
FEW_DOCUMENTS = 50
"""With fewer documents than this, the end of the text validates instead of whole documents."""


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """How a text is tokenized and split."""

    vocab_size: int = 10_000
    """Entries of the tokenizer to train: special tokens, 256 bytes and merges."""
    special_tokens: tuple[str, ...] = ("<|endoftext|>",)
    """Special tokens; the first one ends every document."""
    validation_fraction: float = 0.1
    """Share of the text kept for validation where no validation text is given."""
    seed: Natural = 1337
    """Decides which documents validate."""
    reading: Reading = field(default_factory=Reading)
    """How files become documents."""

    def __post_init__(self):
        convert_fields(self)
        if not self.special_tokens:
            raise ValueError("special_tokens must name the token that ends a document")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must be between 0 and 1, not {self.validation_fraction}"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class PreparedText:
    """A folder that `prepare` wrote, opened."""

    folder: Path
    tokenizer: BaseTokenizer
    train: Tokens
    validation: Tokens
    report: dict[str, Any]
    was_there: bool = False
    """Whether `prepare` left it as it was."""

    @property
    def eos_id(self) -> int:
        """The id of the token that ends every document."""
        return self.tokenizer.special_id(self.report["end_of_text"])


@checked
def prepare(
    texts: str | Path | Sequence[str | Path],
    out: str | Path,
    config: PrepareConfig | None = None,
    *,
    validation: Sequence[str | Path] = (),
    tokenizer: BaseTokenizer | None = None,
    progress: bool = False,
) -> PreparedText:
    """Return the texts tokenized in the folder out, which is written unless it is there already.

    What is there counts if it was made from the same files with the same settings. A tokenizer
    that is given is used as it is; otherwise one is trained, on the training split alone.

    Raises:
        ValueError: a source is missing, empty, binary or not UTF-8, the text is too short to split,
            or the tokenizer lacks the token that ends a document.
    """
    config, out = config or PrepareConfig(), Path(out)
    files, held_out = files_of(texts), files_of(validation) if validation else []
    if tokenizer is not None:
        tokenizer.special_id(config.special_tokens[0])
    require_apart(outputs_in(out), [*files, *held_out])
    require_folder(out, "for the prepared text")
    sources = {"train": described(files), "validation": described(held_out)}
    require_held_out(sources)
    key = _key(config, sources, tokenizer)
    was_there = _is_there(out, key)
    if not was_there:
        with locked(out, wait=True):
            was_there = _is_there(out, key)  # another process may have prepared it meanwhile
            if not was_there:
                remove_leftovers(out)
                split = _split_of(files, held_out, config, progress)
                _write(out, split, config, tokenizer, {"key": key, "sources": sources}, progress)
    return replace(load_prepared(out), was_there=was_there)


def require_held_out(sources: dict[str, list[SourceFile]]) -> None:
    """Raise ValueError if a file of the training text is validation text too."""
    trained_on = {file.sha256: file.name for file in sources["train"] if file.bytes is not None}
    for file in sources["validation"]:
        if file.sha256 in trained_on:
            raise ValueError(
                f"{file.name} is also training text ({trained_on[file.sha256]}), so its score "
                "would say nothing about new text: give --validation other files, or leave it out"
            )


def outputs_in(out: Path) -> list[Path]:
    """Return the paths of all files of a prepared folder."""
    tokens = [path for name in ("train", "validation") for path in outputs(out / f"{name}.npy")]
    return [out / MANIFEST, out / "tokenizer.json", *tokens]


def _split_of(
    files: Sequence[str | Path],
    held_out: Sequence[str | Path],
    config: PrepareConfig,
    progress: bool,
) -> "_Split":
    given = _Given(files, held_out, config.reading) if held_out else None
    return given or _split(files, config, progress)


def _write(
    out: Path,
    split: "_Split",
    config: PrepareConfig,
    tokenizer: BaseTokenizer | None,
    origin: dict[str, Any],
    progress: bool,
) -> None:
    """Write tokenizer, token files and, last, the manifest of split to out."""
    started = time.perf_counter()
    trained = tokenizer or _trained(split, config, progress)
    trained_s = time.perf_counter() - started
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    trained.save(out)
    started, end = time.perf_counter(), config.special_tokens[0]
    train = write_documents(out / "train.npy", split.training(progress), trained, end)
    valid = write_documents(out / "validation.npy", split.validating(progress), trained, end)
    encoded_s = time.perf_counter() - started
    if train.n_tokens < 2 or valid.n_tokens < 2:
        raise ValueError(
            f"the text is too short to split: {train.n_tokens} tokens to train on, "
            f"{valid.n_tokens} to validate with; bring more text or give --validation"
        )
    report = {
        "end_of_text": end,
        "vocab_size": trained.vocab_size,
        "asked_vocab_size": None if tokenizer else config.vocab_size,
        "split": split.rule,
        "bytes_per_token": round(train.bytes / train.n_tokens, 3),
        "validation_bytes_per_token": round(valid.bytes / valid.n_tokens, 3),
        "tokenizer_s": round(trained_s, 2),
        "encoding_s": round(encoded_s, 2),
        "encoding_mb_per_s": round((train.bytes + valid.bytes) / 1e6 / max(encoded_s, 1e-9), 2),
    }
    manifest = {
        "format": FORMAT,
        "key": origin["key"],
        "config": asdict(config),
        "sources": {
            name: [asdict(file) for file in files] for name, files in origin["sources"].items()
        },
        "tokenizer": trained.fingerprint,
        "report": report,
    }
    write_json(out / MANIFEST, manifest | {"checksum": _checksum(manifest)})


@checked
def load_prepared(folder: str | Path) -> PreparedText:
    """Return the prepared text in folder.

    Raises:
        ValueError: there is none, a file is damaged, or tokens are another tokenizer's.
    """
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(
            f"{folder} is a file, not a prepared text: make one with lmcore prepare {folder} "
            "--out FOLDER and name that folder"
        )
    if not (folder / MANIFEST).is_file():
        raise ValueError(
            f"{folder} holds no prepared text ({MANIFEST} is missing): "
            f"make it with lmcore prepare TEXT --out {folder}"
        )
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{folder / MANIFEST} is of another version: prepare the text again")
    tokenizer = load_tokenizer(folder)
    if manifest.get("checksum", _checksum(manifest)) != _checksum(manifest):
        raise ValueError(
            f"{folder / MANIFEST} is damaged (its checksum differs): prepare the text again"
        )
    if tokenizer.fingerprint != manifest["tokenizer"]:
        raise ValueError(
            f"{folder} was prepared with tokenizer {manifest['tokenizer']}, its tokenizer.json is "
            f"{tokenizer.fingerprint}: prepare the text again"
        )
    train, validation = (
        load_tokens(folder / f"{name}.npy", tokenizer, remedy="prepare the text again")
        for name in ("train", "validation")
    )
    return PreparedText(
        folder=folder,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
        report=manifest["report"],
    )


def sample_tokens(prepared: PreparedText, n: int = 10) -> list[str]:
    """Return the first n tokens of the training text, each as text."""
    ids = prepared.train.ids[:n].tolist()
    return [prepared.tokenizer.decode([id]) for id in ids]


def _checksum(manifest: dict[str, Any]) -> str:
    stored = {name: value for name, value in manifest.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def _key(
    config: PrepareConfig,
    sources: dict[str, list[SourceFile]],
    tokenizer: BaseTokenizer | None,
) -> str:
    """Return a hash of everything that decides the tokens."""
    values = {
        "format": FORMAT,
        "config": asdict(config),
        "sources": {name: [file.sha256 for file in files] for name, files in sources.items()},
        "tokenizer": tokenizer and tokenizer.fingerprint,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _is_there(out: Path, key: str) -> bool:
    try:
        if read_json(out / MANIFEST).get("key") != key:
            return False
        load_prepared(out)
    except (ValueError, AttributeError, KeyError):
        return False
    return True


def _trained(split: "_Split", config: PrepareConfig, progress: bool) -> Tokenizer:
    with warnings.catch_warnings():  # the report says how far the text reached
        warnings.filterwarnings("ignore", "the text has no more pairs to merge")
        texts = _in_blocks(split.training(progress))
        return Tokenizer.train(texts, config.vocab_size, config.special_tokens)


def _in_blocks(texts: Iterator[str]) -> Iterator[str]:
    """Yield texts joined to larger ones, which are counted many times as fast.

    Between texts without white space at their edges, a line break is a pre-token of one byte for
    itself, and a pre-token of one byte has no pair to merge. Other texts stay alone.
    """
    held, size = [], 0
    for text in texts:
        if text.strip() != text:
            yield text
            continue
        held.append(text)
        size += len(text)
        if size >= BLOCK:
            yield "\n".join(held)
            held, size = [], 0
    if held:
        yield "\n".join(held)


# Splits


class _Split:
    """Which documents train and which validate; both can be walked through again and again."""

    rule: str

    def training(self, progress: bool = False) -> Iterator[str]:
        raise NotImplementedError

    def validating(self, progress: bool = False) -> Iterator[str]:
        raise NotImplementedError


class _Given(_Split):
    """Validation documents come from files of their own."""

    rule = "validation text given"

    def __init__(
        self, files: Sequence[str | Path], held_out: Sequence[str | Path], reading: Reading
    ):
        self.files, self.held_out, self.reading = files, held_out, reading

    def training(self, progress: bool = False) -> Iterator[str]:
        return _counted(self.files, self.reading, "train", progress)

    def validating(self, progress: bool = False) -> Iterator[str]:
        return _counted(self.held_out, self.reading, "validation", progress)


class _ByDocument(_Split):
    """Each document validates with the same probability, decided by its number and the seed."""

    def __init__(self, files: Sequence[str | Path], config: PrepareConfig, n: int):
        self.files, self.config = files, config
        order = np.random.default_rng(config.seed).permutation(n)
        chosen = order[: max(1, round(config.validation_fraction * n))]
        self.validates = np.zeros(n, dtype=bool)
        self.validates[chosen] = True
        self.rule = f"{len(chosen):,} of {n:,} documents validate, drawn with seed {config.seed}"

    def _some(self, validates: bool, progress: bool) -> Iterator[str]:
        name = "validation" if validates else "train"
        every = _counted(self.files, self.config.reading, name, progress)
        return (
            document
            for document, is_held_out in zip(every, self.validates, strict=True)
            if is_held_out == validates
        )

    def training(self, progress: bool = False) -> Iterator[str]:
        return self._some(False, progress)

    def validating(self, progress: bool = False) -> Iterator[str]:
        return self._some(True, progress)


class _ByEnd(_Split):
    """The end of the text validates; the cut is at a line break where there is one near it."""

    def __init__(self, files: Sequence[str | Path], config: PrepareConfig, n_characters: int):
        self.files, self.config = files, config
        self.cut = round((1 - config.validation_fraction) * n_characters)
        self.rule = f"the last {config.validation_fraction:.0%} of the text validates"

    def _halves(self, progress: bool) -> Iterator[tuple[str, str]]:
        """Yield of each document what trains and what validates."""
        start = 0
        for document in _counted(self.files, self.config.reading, "split", progress):
            at = min(max(self.cut - start, 0), len(document))
            if 0 < at < len(document):
                after = document.find("\n", at)
                before = document.rfind("\n", 0, at)
                near = [place for place in (after, before) if place > 0]
                if near:
                    at = min(near, key=lambda place: abs(place - at)) + 1
            start += len(document)
            yield document[:at], document[at:]

    def training(self, progress: bool = False) -> Iterator[str]:
        return (first for first, _ in self._halves(progress) if first.strip())

    def validating(self, progress: bool = False) -> Iterator[str]:
        return (last for _, last in self._halves(progress) if last.strip())


def _split(files: Sequence[str | Path], config: PrepareConfig, progress: bool) -> _Split:
    n = n_characters = 0
    for document in _counted(files, config.reading, "count", progress):
        n += 1
        n_characters += len(document)
    if n >= FEW_DOCUMENTS:
        return _ByDocument(files, config, n)
    return _ByEnd(files, config, n_characters)


def _counted(
    files: Sequence[str | Path], reading: Reading, name: str, progress: bool
) -> Iterator[str]:
    """Yield the documents of files with a bar of characters, on a terminal alone."""
    hidden = None if progress else True
    with tqdm(desc=name, unit="char", unit_scale=True, disable=hidden, leave=False) as bar:
        yield from documents(files, reading, bar.update)

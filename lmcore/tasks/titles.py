"""Titles from the hub, a local file, or a grammar of known entropy.

All three are prepared alike: one seeded shuffle, fixed splits, one tokenizer, three token files.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lmcore.boundary import Natural, convert_fields
from lmcore.data import grammar
from lmcore.data.batches import Batches, Order
from lmcore.data.token_files import Tokens, load_tokens, write_documents
from lmcore.evaluation.scores import Answers, Score, score
from lmcore.files import require_file, write_json
from lmcore.locks import locked, remove_leftovers
from lmcore.model.gpt import GPT
from lmcore.tasks.text import TextTask
from lmcore.tokenizer.base import BaseTokenizer
from lmcore.tokenizer.byte_bpe import Tokenizer

HUB_DATASET = "julien040/hacker-news-posts"
HUB_REVISION = "9e21b0f3c36bd7ce50b741ce966297a7f73cae38"
EOS = "<eos>"
SPECIAL_TOKENS = ("<pad>", EOS, "<unk>")
SPLITS = ("train", "validation", "test")
FILES = "tokenizer.json in Hugging Face's format, token files whose records name their eos"
"""What a prepared folder holds. It is part of the folder's name, so other formats are not read."""


@dataclass(frozen=True, kw_only=True)
class TitlesConfig:
    """Which titles to use, how to split them, and which tokenizer to train on them."""

    source: Literal["headlines", "generated"] = "headlines"
    """Headlines from a local file or the hub, or titles drawn from a grammar of known entropy."""
    n_titles: int = 100_000
    """Titles in the train and validation splits together."""
    n_test_titles: int = 10_000
    """Titles in the test split, which come on top of n_titles."""
    validation_fraction: float = 0.10
    """Share of n_titles in the validation split."""
    seed: Natural = 1337
    """Seed of the shuffle before the split, and of generated titles."""
    vocab_size: int = 16_000
    """Entries of the vocabulary: special tokens, the 256 bytes, and what is learned."""
    tokenizer: Literal["bpe", "unigram"] = "bpe"
    """Byte-pair encoding, or a Unigram model."""
    tokenizer_text: Literal["train", "train+validation"] = "train+validation"
    """Splits that the tokenizer is trained on. The challenge trains it on both; with train alone
    the validation loss is of text that the tokenizer has not seen either.
    """

    def __post_init__(self):
        convert_fields(self)
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction {self.validation_fraction} is outside (0, 1)")
        if min(self.n_train_titles, self.n_titles - self.n_train_titles, self.n_test_titles) < 1:
            raise ValueError(
                f"n_titles {self.n_titles} and n_test_titles {self.n_test_titles} leave a split "
                "without a title: raise them"
            )

    @property
    def n_train_titles(self) -> int:
        """Titles in the train split."""
        return int(self.n_titles * (1 - self.validation_fraction))

    def prepare(self, cache: Path, data: Path | None = None, progress: bool = False) -> "Corpus":
        """Return the corpus, as `prepare` does."""
        return prepare(self, cache, data, progress)

    def text_sha256(self, data: Path) -> str:
        """Return the hash of the text that a run on data would record, without preparing it."""
        return sha256_of(split_titles(titles_of(self, data)[0], self))

    def small(self) -> tuple["TitlesConfig", dict[str, Any], dict[str, Any]]:
        """Return generated titles for runs of seconds, and what changes of the model and of the
        training plan. The learning rate is one at which so small a model learns well with SGD.
        """
        titles = TitlesConfig(
            source="generated",
            n_titles=4_000,
            n_test_titles=400,
            vocab_size=512,
            tokenizer=self.tokenizer,
            tokenizer_text=self.tokenizer_text,
        )
        shape = {"vocab_size": 512, "context_length": 32, "d_model": 64, "n_layers": 2}
        plan = {"batch_size": 16, "epochs": 2, "steps": None, "n_tokens": None, "lr": 0.12}
        return (
            titles,
            shape | {"n_heads": 2, "d_ff": 256},
            plan | {"eval_at": (1, 5, 20, 50)},
        )


@dataclass(frozen=True, eq=False)
class Corpus:
    """Tokenized splits, their tokenizer, and where the text came from.

    With within_documents, no token attends to another title, in training or in any score.
    """

    tokenizer: BaseTokenizer
    train: Tokens
    validation: Tokens
    test: Tokens
    origin: dict[str, str | int]
    within_documents: bool = False

    @property
    def eos_id(self) -> int:
        """The id of <eos>, which ends every title."""
        return self.tokenizer.special_tokens[EOS]

    def source(
        self,
        *,
        batch_size: int,
        context_length: int,
        order: Order,
        seed: int,
    ) -> TextTask:
        """Return the task of a run with these numbers: batches of the train split, and scores."""
        return TextTask(
            batches=Batches(self.train, batch_size, context_length, order, seed),
            validation=self.validation,
            eos_id=self.eos_id,
            within_documents=self.within_documents,
            with_challenge=True,
        )

    def test_scores(self, model: GPT) -> dict[str, Score | Answers]:
        """Return the score of the test titles."""
        return {"test": score(model, self.test, self.eos_id, self.within_documents)}


def joined(titles: Sequence[str]) -> str:
    """Return the text whose characters and bytes count: each title followed by <eos>."""
    return "".join(title + EOS for title in titles)


def read_titles(path: Path) -> list[str]:
    """Return the titles in a local file, one a line, without blank lines and byte order mark.

    Raises:
        ValueError: the file is missing, empty or not UTF-8; the message names it.
    """
    try:
        text = require_file(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(
            f"{path} does not exist; it should be a file with one title a line"
        ) from None
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 (byte {error.start} is {error.object[error.start]:#04x}): "
            "convert it, for example with iconv -t utf-8"
        ) from None
    titles = [line.strip() for line in text.split("\n") if line.strip()]
    if not titles:
        raise ValueError(f"{path} is empty; it should hold one title a line")
    return titles


def local_file(data: Path | None) -> Path | None:
    """Return the local file of headlines, or None if none is set.

    It is set by `data`, or else by the environment variable LMCORE_DATA: a file, or a folder with
    a file headlines.txt.
    """
    named = data or (Path(os.environ["LMCORE_DATA"]) if os.environ.get("LMCORE_DATA") else None)
    return named / "headlines.txt" if named and named.is_dir() else named


def hub_titles() -> list[str]:
    """Return the titles of the challenge's data set at its pinned revision, downloaded if needed.

    Raises:
        ValueError: `datasets` is not installed, or the download fails.
    """
    way_out = (
        "give a file of one title a line with --data PATH (or LMCORE_DATA), "
        "or connect to the internet to download the hub data set"
    )
    try:
        import datasets
    except ModuleNotFoundError:
        raise ValueError(
            f"no local headlines, and `datasets` is not installed: {way_out} "
            "after pip install 'lmcore[data]'"
        ) from None
    try:
        rows = datasets.load_dataset(HUB_DATASET, revision=HUB_REVISION, split="train")
    except OSError as error:  # a data set or network that is not there is one too
        reason = type(error).__name__
        raise ValueError(
            f"no local headlines, and {HUB_DATASET} cannot be downloaded ({reason}): {way_out}"
        ) from None
    return [(title or "").strip() for title in rows["title"]]


def split_titles(titles: Sequence[str], config: TitlesConfig) -> dict[str, list[str]]:
    """Return the train, validation and test titles: one seeded shuffle, cut in three.

    It is the shuffle that `datasets` does with the same seed. Test titles come after the first
    n_titles, and the challenge never uses those.

    Raises:
        ValueError: there are too few titles for the three splits.
    """
    needed = config.n_titles + config.n_test_titles
    if len(titles) < needed:
        raise ValueError(
            f"{len(titles):,} titles are too few: the splits take {config.n_titles:,} "
            f"and {config.n_test_titles:,} for the test; lower n_titles or use a larger file"
        )
    order = np.random.default_rng(config.seed).permutation(len(titles))[:needed]
    chosen: list[str] = [titles[int(i)] for i in order]
    cuts = (0, config.n_train_titles, config.n_titles, needed)
    return {
        name: list(chosen[start:stop])
        for name, start, stop in zip(SPLITS, cuts, cuts[1:], strict=False)
    }


def titles_of(config: TitlesConfig, data: Path | None) -> tuple[list[str], str]:
    """Return the titles of config, and a description of where they came from."""
    if config.source == "generated":
        n = config.n_titles + config.n_test_titles
        return grammar.titles(n, config.seed), "generated from the grammar of known entropy"
    path = local_file(data)
    if path:
        return read_titles(path), f"local file {path.name}"
    return hub_titles(), f"{HUB_DATASET} at {HUB_REVISION}"


def prepare(
    config: TitlesConfig, cache: Path, data: Path | None = None, progress: bool = False
) -> Corpus:
    """Return the corpus of config, kept in a folder of cache named by a hash of config and text.

    The tokenizer never sees a test title; by default it sees validation titles, as in the
    challenge. A blank goes before each title, so that its first word is a word like any other.

    Raises:
        ValueError: text is missing, too short or damaged; see the functions above.
    """
    titles, source = titles_of(config, data)
    splits = split_titles(titles, config)
    text_sha256 = sha256_of(splits)
    identity = json.dumps(asdict(config)) + text_sha256 + FILES
    folder = cache / f"{config.source}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if not is_prepared(folder):
        with locked(folder, wait=True):
            if not is_prepared(folder):  # another process may have prepared it meanwhile
                remove_leftovers(folder)
                write_corpus(folder, config, splits, progress)
                about = {"config": asdict(config), "text_sha256": text_sha256}
                write_json(folder / "corpus.json", about)
    tokenizer = tokenizer_class(config.tokenizer).load(folder)
    again = f"delete {folder} and run again"
    parts = {name: load_tokens(folder / f"{name}.npy", tokenizer, remedy=again) for name in SPLITS}
    origin = {
        "titles": source,
        "text_sha256": text_sha256,
        "tokenizer": tokenizer.fingerprint,
        **{f"{name}_tokens": parts[name].info.n_tokens for name in SPLITS},
        **{f"{name}_characters": parts[name].info.characters for name in SPLITS},
    }
    train, validation, test = (parts[name] for name in SPLITS)
    return Corpus(tokenizer, train, validation, test, origin)


def sha256_of(splits: dict[str, list[str]]) -> str:
    """Return a hash of the titles in all splits."""
    text = "".join(joined(splits[name]) for name in SPLITS)
    return hashlib.sha256(text.encode()).hexdigest()


def tokenizer_class(name: str) -> Any:
    """Return the class of tokenizers of this name.

    Raises:
        ValueError: it is Unigram, and `tokenizers`, which trains it, is not installed.
    """
    if name == "bpe":
        return Tokenizer
    try:
        from lmcore.tokenizer.unigram import UnigramTokenizer
    except ModuleNotFoundError:
        raise ValueError(
            f"tokenizer {name!r} needs the library `tokenizers`: pip install 'lmcore[unigram]'"
        ) from None
    return UnigramTokenizer


def is_prepared(folder: Path) -> bool:
    """Return whether folder has each file of a prepared corpus."""
    suffixes = ("npy", "documents.npy", "json")
    token_files = [f"{name}.{suffix}" for name in SPLITS for suffix in suffixes]
    files = ("tokenizer.json", *token_files, "corpus.json")
    return all((folder / file).exists() for file in files)


def write_corpus(
    folder: Path, config: TitlesConfig, splits: dict[str, list[str]], progress: bool = False
) -> None:
    """Train the tokenizer of config on the splits that it names, and write all three in tokens."""
    text = [f" {title}" for name in config.tokenizer_text.split("+") for title in splits[name]]
    tokenizer = tokenizer_class(config.tokenizer).train(
        text, config.vocab_size, SPECIAL_TOKENS, progress=progress
    )
    tokenizer.save(folder)
    for name, titles in splits.items():
        write_documents(folder / f"{name}.npy", titles, tokenizer, EOS, prefix=" ")

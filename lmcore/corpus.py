"""Where titles come from: the hub, a local file, or a grammar whose entropy is known.

All three end the same way: one seeded shuffle, fixed splits, one tokenizer, three token files.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lmcore import grammar
from lmcore.batches import Batches, Order
from lmcore.evaluate import Score, score
from lmcore.model import GPT
from lmcore.records import check_choices, write_json
from lmcore.source import TextSource
from lmcore.tokenizer import BaseTokenizer, Tokenizer
from lmcore.tokens import Tokens, load_tokens, write_documents
from lmcore.unigram import UnigramTokenizer

HUB_DATASET = "julien040/hacker-news-posts"
HUB_REVISION = "9e21b0f3c36bd7ce50b741ce966297a7f73cae38"
END = "<eos>"
SPECIAL_TOKENS = ("<pad>", END, "<unk>")
SPLITS = ("train", "validation", "test")
TOKENIZERS = {"bpe": Tokenizer, "unigram": UnigramTokenizer}
FILES = "tokenizer.json of Hugging Face's form, tokens with documents and what ends them"
"""What a prepared folder holds; folders of another form have another name and are not read."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig:
    """Which titles, how they are split, and the size of the vocabulary learned from them.

    A tokenizer trained on train titles alone has seen no validation title, so that the validation
    loss is of unseen text; the challenge trains it on both.
    """

    source: Literal["headlines", "generated"] = "headlines"
    n_titles: int = 100_000
    n_test_titles: int = 10_000
    validation_fraction: float = 0.10
    seed: int = 1337
    vocab_size: int = 16_000
    tokenizer: Literal["bpe", "unigram"] = "bpe"
    tokenizer_text: Literal["train", "train+validation"] = "train+validation"

    def __post_init__(self):
        check_choices(self)
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction {self.validation_fraction} is outside (0, 1)")
        if min(self.n_train_titles, self.n_titles - self.n_train_titles, self.n_test_titles) < 1:
            raise ValueError(f"n_titles {self.n_titles} leaves a split without a title")

    @property
    def n_train_titles(self) -> int:
        """Titles to train on; the rest of n_titles validate."""
        return int(self.n_titles * (1 - self.validation_fraction))

    def prepare(self, cache: Path, data: Path | None = None, progress: bool = False) -> "Corpus":
        """Return the corpus, as `prepare` does."""
        return prepare(self, cache, data, progress)

    def small(self) -> tuple["CorpusConfig", dict[str, Any], dict[str, Any]]:
        """Return generated titles for runs of seconds, with sizes that suit them.

        The shape stays what it is and sizes shrink; lr is what so small a model learns well
        with by SGD.
        """
        titles = CorpusConfig(
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
            plan | {"evaluate_at": (1, 5, 20, 50)},
        )


@dataclass(frozen=True, eq=False)
class Corpus:
    """Tokenized splits, the tokenizer that made them, and where their text came from.

    Read within documents, no title is seen from another, in training or in any score.
    """

    tokenizer: BaseTokenizer
    train: Tokens
    validation: Tokens
    test: Tokens
    origin: dict[str, str | int]
    within_documents: bool = False

    @property
    def end_id(self) -> int:
        """The id of <eos>, which closes every title."""
        return self.tokenizer.special_tokens[END]

    def source(
        self,
        *,
        batch_size: int,
        context_length: int,
        order: Order,
        seed: int,
    ) -> TextSource:
        """Return what is learned from and judged by."""
        return TextSource(
            batches=Batches(self.train, batch_size, context_length, order, seed),
            validation=self.validation,
            end_id=self.end_id,
            within_documents=self.within_documents,
        )

    def test_scores(self, model: GPT) -> dict[str, Score]:
        """Return the score of the test titles."""
        return {"test": score(model, self.test, self.end_id, self.within_documents)}


def joined(titles: Sequence[str]) -> str:
    """Return the text that characters and bytes are counted on: every title closed by <eos>."""
    return "".join(title + END for title in titles)


def read_titles(path: Path) -> list[str]:
    """Return the lines of a local file, one title each, blank ones left out.

    Raises:
        ValueError: the file is missing, empty or not UTF-8; the message names it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"{path} is not there; it should be a file of one title a line") from None
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
    """Return the local headlines file that the setting names, if it names any.

    The setting is `data`, or else the variable LMCORE_DATA: a file, or a folder that holds
    headlines.txt.
    """
    named = data or (Path(os.environ["LMCORE_DATA"]) if os.environ.get("LMCORE_DATA") else None)
    return named / "headlines.txt" if named and named.is_dir() else named


def hub_titles() -> list[str]:
    """Return the titles of the challenge's data set at its pinned revision, fetched if need be.

    Raises:
        ValueError: the library or the network is missing; the message names both ways out.
    """
    way_out = (
        "give a file of one title a line with --data PATH (or LMCORE_DATA), "
        "or connect to the internet to fetch the hub data set"
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
    except (OSError, ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        reason = type(error).__name__
        raise ValueError(
            f"no local headlines, and {HUB_DATASET} cannot be fetched ({reason}): {way_out}"
        ) from None
    return [(title or "").strip() for title in rows["title"]]


def split_titles(titles: Sequence[str], config: CorpusConfig) -> dict[str, list[str]]:
    """Return the train, validation and test titles: one seeded shuffle, cut at fixed places.

    The shuffle is the one `datasets` does with the same seed. Test titles come from beyond the
    first n_titles, which the challenge never touches.

    Raises:
        ValueError: there are too few titles for the three splits.
    """
    needed = config.n_titles + config.n_test_titles
    if len(titles) < needed:
        raise ValueError(
            f"{len(titles):,} titles are too few: the splits take {config.n_titles:,} "
            f"and {config.n_test_titles:,} for the test; lower n_titles or bring more text"
        )
    order = np.random.default_rng(config.seed).permutation(len(titles))[:needed]
    chosen = [titles[i] for i in order]
    cuts = (0, config.n_train_titles, config.n_titles, needed)
    return {
        name: chosen[start:stop] for name, start, stop in zip(SPLITS, cuts, cuts[1:], strict=False)
    }


def titles_of(config: CorpusConfig, data: Path | None) -> tuple[list[str], str]:
    """Return the titles that config asks for, and in words where they came from."""
    if config.source == "generated":
        n = config.n_titles + config.n_test_titles
        return grammar.titles(n, config.seed), "generated from the grammar of known entropy"
    path = local_file(data)
    if path:
        return read_titles(path), f"local file {path.name}"
    return hub_titles(), f"{HUB_DATASET} at {HUB_REVISION}"


def prepare(
    config: CorpusConfig, cache: Path, data: Path | None = None, progress: bool = False
) -> Corpus:
    """Return the corpus of config, made once and kept in cache under a hash of config and text.

    The tokenizer never sees a test title; by default it sees validation titles, as the challenge's
    does. Every title is encoded with a blank before it, so that its first word is a word like any
    other.

    Raises:
        ValueError: text is missing, too short or damaged; see the functions above.
    """
    titles, words = titles_of(config, data)
    splits = split_titles(titles, config)
    text = "".join(joined(splits[name]) for name in SPLITS)
    text_hash = hashlib.sha256(text.encode()).hexdigest()
    told = json.dumps(asdict(config)) + text_hash + FILES
    key = hashlib.sha256(told.encode()).hexdigest()[:16]
    folder = cache / f"{config.source}-{key}"
    kinds = ("npy", "documents.npy", "json")
    token_files = [f"{name}.{kind}" for name in SPLITS for kind in kinds]
    made = ("tokenizer.json", *token_files, "corpus.json")
    kind = TOKENIZERS[config.tokenizer]
    if not all((folder / file).exists() for file in made):
        known = [f" {title}" for name in config.tokenizer_text.split("+") for title in splits[name]]
        tokenizer = kind.train(known, config.vocab_size, SPECIAL_TOKENS, progress=progress)
        tokenizer.save(folder)
        for name, part in splits.items():
            write_documents(folder / f"{name}.npy", part, tokenizer, END, prefix=" ")
        write_json(folder / "corpus.json", {"config": asdict(config), "text_sha256": text_hash})
    tokenizer = kind.load(folder)
    parts = {name: load_tokens(folder / f"{name}.npy", tokenizer, verify=True) for name in SPLITS}
    origin = {
        "titles": words,
        "text_sha256": text_hash,
        "tokenizer": tokenizer.fingerprint,
        **{f"{name}_tokens": parts[name].info.n_tokens for name in SPLITS},
        **{f"{name}_characters": parts[name].info.characters for name in SPLITS},
    }
    return Corpus(tokenizer, *parts.values(), origin)

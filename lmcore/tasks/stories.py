"""Short stories as a task: a local file, TinyStories from the hub, or stories from a grammar.

The text is prepared once for each vocabulary; splits are the first stories of what is there.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lmcore.boundary import convert_fields
from lmcore.data import grammar
from lmcore.data.token_files import Tokens
from lmcore.files import write_text
from lmcore.tasks.prepared_text import PrepareConfig, PreparedText
from lmcore.tasks.prepared_text import prepare as prepare_text
from lmcore.tasks.text_corpus import EOS, TextCorpus, data_folder
from lmcore.tokenizer.base import BaseTokenizer

HUB_DATASET = "roneneldan/TinyStories"
FILES = {"train": "tinystories-train.txt", "validation": "tinystories-valid.txt"}
"""The local files of both splits; a line <|endoftext|> follows each story."""


@dataclass(frozen=True, kw_only=True)
class StoriesConfig:
    """Which stories to use, how many of them, and the size of the tokenizer trained on them."""

    source: Literal["stories", "generated"] = "stories"
    """TinyStories (arXiv 2305.07759) from local files or the hub, or stories from a grammar."""
    vocab_size: int = 10_000
    """Entries of the vocabulary: the end token, the 256 bytes, and merges. The tokenizer is
    trained on all training stories, also where fewer are trained on.
    """
    n_train_stories: int | None = None
    """Train on the first so many training stories. None: on all."""
    n_validation_stories: int = 500
    """Validate on the first so many stories of the validation text."""
    n_test_stories: int = 500
    """Test on so many of the stories after those."""
    validation_tokenizer: Literal["train", "validation"] = "train"
    """The split that the tokenizer of the validation tokens is trained on. "validation" is a
    mistake made on purpose: the ids then name other tokens than in training.
    """

    def __post_init__(self):
        convert_fields(self)
        for name in ("n_train_stories", "n_validation_stories", "n_test_stories"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")

    def prepare(self, cache: Path, data: Path | None = None, progress: bool = False) -> TextCorpus:
        """Return the corpus, as `prepare` does."""
        return prepare(self, cache, data, progress)

    def small(self) -> tuple["StoriesConfig", dict[str, Any], dict[str, Any]]:
        """Return generated stories for runs of seconds, and what changes of the model and of the
        training plan.
        """
        fewer = None if self.n_train_stories is None else 60
        stories = replace(
            self,
            source="generated",
            vocab_size=400,
            n_train_stories=fewer,
            n_validation_stories=20,
            n_test_stories=20,
        )
        shape = {"vocab_size": 400, "context_length": 32, "d_model": 32, "n_layers": 2}
        plan = {"batch_size": 8, "steps": 12, "n_tokens": None, "epochs": None}
        plan |= {"warmup_steps": 2, "eval_at": (3, 6), "eval_every": None, "lr": 0.12}
        return stories, shape | {"n_heads": 2, "d_ff": 64}, plan


def prepare(
    config: StoriesConfig, cache: Path, data: Path | None = None, progress: bool = False
) -> TextCorpus:
    """Return the corpus of config, from token files in cache that are written where they lack.

    Raises:
        ValueError: a text is missing, damaged, or has too few stories.
    """
    texts, described = texts_of(config, cache, data)
    whole = _prepared(config, texts, cache, progress)
    held_out, scored_by = whole.validation, whole.tokenizer
    if config.validation_tokenizer == "validation":  # the splits trade places
        traded = {"train": texts["validation"], "validation": texts["train"]}
        swapped = _prepared(config, traded, cache, progress)
        held_out, scored_by = swapped.train, swapped.tokenizer
    tokenizer = whole.tokenizer
    train, n = whole.train, config.n_train_stories
    if n is not None:
        train = documents_between(train, 0, n, tokenizer)
    end = config.n_validation_stories
    parts = {
        "train": train,
        "validation": documents_between(held_out, 0, end, scored_by),
        "test": documents_between(whole.validation, end, end + config.n_test_stories, tokenizer),
    }
    sums = [parts[name].info.text_sha256 for name in parts]
    origin = {
        "stories": described,
        "text_sha256": hashlib.sha256(json.dumps(sums).encode()).hexdigest(),
        "tokenizer": tokenizer.fingerprint,
        "validation_tokenizer": scored_by.fingerprint,
        **{f"{name}_stories": tokens.info.n_documents for name, tokens in parts.items()},
        **{f"{name}_tokens": tokens.info.n_tokens for name, tokens in parts.items()},
        **{f"{name}_characters": tokens.info.characters for name, tokens in parts.items()},
    }
    return TextCorpus(
        name="stories",
        vocab_size=config.vocab_size,
        tokenizer=tokenizer,
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        origin=origin,
        validation_tokenizer=scored_by.fingerprint,
    )


def texts_of(
    config: StoriesConfig, cache: Path, data: Path | None
) -> tuple[dict[str, str | Path], str]:
    """Return the sources of the train and validation text, and a description of them."""
    if config.source == "generated":
        return _generated(cache), "generated from the grammar of known entropy"
    folder = data_folder(data)
    if folder is None:
        hub = {name: f"hub:{HUB_DATASET}:{name}" for name in FILES}
        return dict(hub), f"hub data set {HUB_DATASET}"
    for name in FILES.values():
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder / name} does not exist: bring a text with a line {EOS} after each "
                f"story, or unset LMCORE_DATA to use {HUB_DATASET} from the hub"
            )
    files = {name: folder / file for name, file in FILES.items()}
    return dict(files), f"local files {', '.join(FILES.values())}"


def _generated(cache: Path) -> dict[str, str | Path]:
    """Return the files of generated stories, which are written where they lack."""
    files: dict[str, str | Path] = {}
    for name, (n, seed) in {"train": (600, 1), "validation": (60, 2)}.items():
        path = cache / f"generated-stories-{name}.txt"
        files[name] = path
        if not path.exists():
            stories = grammar.stories(n, seed)
            write_text(path, "".join(f"{story}\n{EOS}\n" for story in stories))
    return files


def _prepared(
    config: StoriesConfig, texts: dict[str, str | Path], cache: Path, progress: bool
) -> PreparedText:
    """Return the text prepared in a folder of cache named by its sources and vocabulary."""
    plan = PrepareConfig(vocab_size=config.vocab_size, special_tokens=(EOS,))
    identity = json.dumps([asdict(plan), *(str(source) for source in texts.values())])
    folder = cache / f"{config.source}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    held_out = [texts["validation"]]
    return prepare_text(texts["train"], folder, plan, validation=held_out, progress=progress)


def documents_between(tokens: Tokens, start: int, stop: int, tokenizer: BaseTokenizer) -> Tokens:
    """Return the documents of tokens from number start up to stop, with a record of their own.

    Raises:
        ValueError: tokens has fewer documents.
    """
    if stop > len(tokens.documents):
        raise ValueError(
            f"the text has {len(tokens.documents):,} stories, but {stop:,} were asked for: "
            "lower the number of stories or bring a longer text"
        )
    places = [*tokens.documents.tolist(), len(tokens.ids)]
    ids = np.ascontiguousarray(tokens.ids[places[start] : places[stop]])
    documents = tokens.documents[start:stop] - places[start]
    raw = tokenizer.decode_bytes(ids)
    info = replace(
        tokens.info,
        n_tokens=len(ids),
        n_documents=stop - start,
        characters=len(raw.decode()),
        bytes=len(raw),
        text_sha256=hashlib.sha256(raw).hexdigest(),
        sha256=hashlib.sha256(ids.data).hexdigest(),
        documents_sha256=hashlib.sha256(np.ascontiguousarray(documents).data).hexdigest(),
    )
    return Tokens(ids, documents, info)

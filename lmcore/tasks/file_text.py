"""Any text file as an experiment's data: its own tokenizer, and three splits that do not overlap.

Experiments on the same text with the same vocabulary share tokenizer and token files. The bytes
that are scored do not depend on the vocabulary, so bits per byte can be compared across it.
"""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lmcore.boundary import convert_fields
from lmcore.data import grammar
from lmcore.data.sources import Reading, described, documents, files_of
from lmcore.data.token_files import Tokens, load_tokens, write_documents
from lmcore.files import write_json
from lmcore.locks import locked, remove_leftovers
from lmcore.tasks.text_corpus import EOS, TextCorpus, data_folder
from lmcore.tokenizer.byte_bpe import Tokenizer

GENERATED = "generated"
"""The name of the text that is drawn from the grammar of titles, for runs of seconds."""
N_GENERATED = 3_000
SPLITS = ("train", "validation", "test")
FORMAT = 1
"""Version of a prepared folder. It is part of the folder's name, so other formats are not read."""
FEW_DOCUMENTS = 20
"""With fewer documents than this, the end of the text is held out instead of whole documents."""
PARTS = 10
"""A held-out document gives at most one of so many parts of the scored bytes, if there are enough
documents.
"""


@dataclass(frozen=True, kw_only=True)
class FileTextConfig:
    """Which text to use, how to split it, and which tokenizer to train on it."""

    text: str = "novels.txt"
    """The name of the file, or "generated" for titles drawn from a grammar."""
    vocab_size: int = 10_000
    """Entries of the tokenizer: the special token, the 256 bytes, and what is learned."""
    share: float = 1.0
    """Share of the training tokens that is used, from the beginning. The tokenizer sees all."""
    held_out: float = 0.05
    """Share of the documents in the validation split, and as many in the test split."""
    scored_bytes: int = 200_000
    """Bytes of the validation text that are scored, and as many of the test text."""
    split_seed: int = 1337
    """Decides which documents are held out, and the order of the others."""

    def __post_init__(self):
        convert_fields(self)
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, not {self.share:g}")
        if not 0 < self.held_out < 0.5:
            raise ValueError(f"held_out must be between 0 and 0.5, not {self.held_out:g}")
        if self.scored_bytes < 1:
            raise ValueError(f"scored_bytes must be above 0, not {self.scored_bytes}")

    def prepare(self, cache: Path, data: Path | None = None, progress: bool = False) -> TextCorpus:
        """Return the text as data, as `prepare` does."""
        return prepare(self, cache, data, progress)

    def small(self) -> tuple["FileTextConfig", dict[str, Any], dict[str, Any]]:
        """Return the small version, and the changes to the model and the training plan."""
        text = replace(self, text=GENERATED, vocab_size=300, scored_bytes=4_000)
        shape = {"vocab_size": 300, "context_length": 32, "d_model": 32, "n_layers": 2}
        plan = {"steps": 24, "epochs": None, "n_tokens": None, "batch_size": 8, "lr": 0.1}
        return text, shape | {"n_heads": 2, "d_ff": None}, plan | {"eval_at": (4, 12)}


def first_share(tokens: Tokens, share: float) -> Tokens:
    """Return the first tokens, as many as share says. Their record stays that of the whole file."""
    n = round(share * len(tokens.ids))
    return Tokens(tokens.ids[:n], tokens.documents[tokens.documents < n], tokens.info)


def text_files(config: FileTextConfig, data: Path | None) -> Sequence[str | Path]:
    """Return the files of config's text: data, or the file of its name in data's folder.

    Without data, the environment variable LMCORE_DATA says where it is. A generated text has none.

    Raises:
        ValueError: there is no such file; the message says how to name one.
    """
    if config.text == GENERATED:
        return []
    place = data_folder(data)
    if place is None:
        raise ValueError(
            f"{config.text} was not given: name a text with --data FILE, "
            "or a folder of texts in LMCORE_DATA"
        )
    path = place / config.text if place.is_dir() else place
    if path.name != config.text:
        raise ValueError(
            f"the experiment is on {config.text}, but {path} was given: give that text, or change "
            "the experiment's task.text"
        )
    return files_of(path)


def texts_of(config: FileTextConfig, files: Sequence[str | Path]) -> dict[str, list[str]]:
    """Return the documents of each split; what is scored is cut to scored_bytes.

    The whole text is held in memory.

    Raises:
        ValueError: the text is too short for three splits.
    """
    reading = Reading()
    all_texts = [*documents(files, reading)] if files else grammar.titles(N_GENERATED, seed=0)
    if len(all_texts) >= FEW_DOCUMENTS:
        order = np.random.default_rng(config.split_seed).permutation(len(all_texts)).tolist()
        n = max(1, round(config.held_out * len(order)))
        places = {"validation": order[:n], "test": order[n : 2 * n], "train": order[2 * n :]}
        splits = {name: [all_texts[i] for i in chosen] for name, chosen in places.items()}
    else:
        splits = split_by_place("\n".join(all_texts), config.held_out)
    empty = [name for name in SPLITS if not any(text.strip() for text in splits[name])]
    if empty:
        raise ValueError(f"{config.text} is too short: nothing is left for {', '.join(empty)}")
    for name in SPLITS[1:]:
        splits[name] = beginnings(splits[name], config.scored_bytes)
    return splits


def split_by_place(text: str, held_out: float) -> dict[str, list[str]]:
    """Return the text in three parts, the last two as long as held_out says, cut at line breaks."""
    cuts = [0]
    for share in (1 - 2 * held_out, 1 - held_out):
        at = max(round(share * len(text)), cuts[-1])
        after = text.find("\n", at) + 1
        cuts.append(after or at)
    starts, ends = cuts, [*cuts[1:], len(text)]
    parts = [[text[start:end]] for start, end in zip(starts, ends, strict=True)]
    return dict(zip(SPLITS, parts, strict=True))


def beginnings(texts: Sequence[str], n_bytes: int) -> list[str]:
    """Return the beginnings of texts, n_bytes together or a little less.

    No text gives more than its part, so that several are among them.
    """
    most, out = n_bytes // min(len(texts), PARTS), []
    for text in texts:
        part = text.encode()[: min(most, n_bytes)].decode(errors="ignore")
        out.append(part)
        n_bytes -= len(part.encode())
        if n_bytes <= 0:
            break
    return [text for text in out if text]


def prepare(
    config: FileTextConfig, cache: Path, data: Path | None = None, progress: bool = False
) -> TextCorpus:
    """Return the text of config, kept in a folder of cache named by a hash of config and text.

    The tokenizer is trained on the training split alone. The share of it that an experiment uses is
    not part of the hash.

    Raises:
        ValueError: the text is missing, too short, not UTF-8 or damaged.
    """
    files = text_files(config, data)
    hashes = [file.sha256 for file in described(files)]
    settings = asdict(replace(config, share=1.0))
    identity = json.dumps([FORMAT, settings, hashes], sort_keys=True)
    name = f"{Path(config.text).stem}-{config.vocab_size}"
    folder = cache / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if not (folder / "text.json").exists():
        with locked(folder, wait=True):
            if not (folder / "text.json").exists():  # another process may have prepared it
                remove_leftovers(folder)
                write_splits(folder, config, texts_of(config, files), progress)
                write_json(folder / "text.json", {"config": settings, "files": hashes})
    tokenizer = Tokenizer.load(folder)
    parts = {split: load_tokens(folder / f"{split}.npy", tokenizer) for split in SPLITS}
    train, validation, test = (parts[split] for split in SPLITS)
    texts = "".join(part.info.text_sha256 for part in parts.values())
    origin = {
        "text": config.text,
        "text_sha256": hashlib.sha256(texts.encode()).hexdigest(),
        "tokenizer": tokenizer.fingerprint,
        "vocab_size": tokenizer.vocab_size,
        **{f"{split}_tokens": part.info.n_tokens for split, part in parts.items()},
        **{f"{split}_bytes": part.info.bytes for split, part in parts.items()},
    }
    return TextCorpus(
        name=config.text,
        vocab_size=config.vocab_size,
        tokenizer=tokenizer,
        train=first_share(train, config.share),
        validation=validation,
        test=test,
        origin=origin,
    )


def write_splits(
    folder: Path, config: FileTextConfig, splits: dict[str, list[str]], progress: bool
) -> None:
    """Train the tokenizer of config on the training split, and write all three in tokens."""
    with warnings.catch_warnings():  # whoever prepares compares the size reached
        warnings.filterwarnings("ignore", "the text has no more pairs to merge")
        tokenizer = Tokenizer.train(splits["train"], config.vocab_size, (EOS,), progress=progress)
    tokenizer.save(folder)
    for name, texts in splits.items():
        write_documents(folder / f"{name}.npy", texts, tokenizer, EOS)

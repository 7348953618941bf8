"""Texts of the surveys: local ones, and generated ones for the small version."""

import gzip
import os
import random
import re
from pathlib import Path

from lmcore.data import grammar
from lmcore.studies.tokenizer.experiments import MANUALS, Survey


def text_of(name: str, survey: Survey, data: Path | None) -> str:
    """Return the text called name, which is generated at smoke scale and local otherwise.

    Raises:
        ValueError: the text is missing; the message names the file.
    """
    text = generated(name) if survey.scale == "smoke" else local(name, data)
    if survey.most_bytes is not None:
        text = text.encode()[: survey.most_bytes].decode(errors="ignore")
    return text


def generated(name: str) -> str:
    """Return generated titles for name, in the letters of its language."""
    titles = grammar.titles(60 * (2 + len(name)), seed=len(name))
    text = "\n".join(titles) + "\n"
    first = {"ja": 0x3042, "zh": 0x4E00, "ru": 0x0430, "de": 0x00C0}.get(name)
    return text if first is None else re.sub("[a-z]", lambda m: chr(first + ord(m[0]) - 97), text)


def local(name: str, data: Path | None) -> str:
    """Return a text from the folder data, or from the folder LMCORE_DATA if data is None."""
    folder = data or Path(os.environ.get("LMCORE_DATA", ""))
    path = folder / (f"manpages-{name}" if name in MANUALS else f"{name}.txt")
    if not path.exists():
        raise ValueError(
            f"{path} is missing: name the folder of texts with --data PATH (or LMCORE_DATA); "
            "docs/tokenizer.md says what it should hold"
        )
    if name in MANUALS:
        lines = manual_lines(path / "usr/share/man" / MANUALS[name])
        return "".join(f"{line}\n" for line in lines if name == "de" or is_beyond_ascii(line))
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def manual_lines(folder: Path, seed: int = 0) -> list[str]:
    """Return the lines of the manual pages in folder, with pages in an order drawn with seed.

    Commands to the formatter, which start with a dot or an apostrophe, and changes of font are
    left out. A page that occurs twice counts once.
    """
    pages = {gzip.decompress(path.read_bytes()) for path in folder.glob("man*/*.gz")}
    texts = sorted(page.decode(errors="replace") for page in pages)
    random.Random(seed).shuffle(texts)
    lines = [line for text in texts for line in text.splitlines()]
    formatting = re.compile(r"\\f(?:\[\w*\]|\(..|.)|\\&")
    plain = [formatting.sub("", line) for line in lines if not line.startswith((".", "'"))]
    return [line.replace("\\-", "-") for line in plain]


def is_beyond_ascii(line: str) -> bool:
    """Return whether most letters of line are not ASCII, since pages quote much English."""
    letters = [character for character in line if character.isalpha()]
    return 2 * sum(not character.isascii() for character in letters) > len(letters)


def split(text: str, held_out: float) -> tuple[str, str]:
    """Return the training part and the held-out last part, cut after the end of a line."""
    cut = text.find("\n", int(len(text) * (1 - held_out))) + 1
    return text[:cut], text[cut:]

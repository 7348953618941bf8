"""lmcore generate: text that follows prompts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from lmcore.generation.language_model import LanguageModel
from lmcore.generation.saved_model import load
from lmcore.training.runtime import Runtime, keep_large_blocks


def run(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    prompts: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[PROMPT ...]")
    ] = (),
    prompt_file: Path | None = None,
    max_new_tokens: int = 256,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int | None = None,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    seed: int = 0,
    n: int = 1,
    stop: tuple[str, ...] = (),
    device: str = "auto",
) -> None:
    """Write text that follows prompts; it ends at an end token or after max-new-tokens.

    A single text appears as it is generated. Several are generated together and printed with their
    prompts. Without a prompt, prompts are read from standard input, one a line; on a terminal each
    is answered at once.

    Args:
        folder: A saved model: a finished run, or a folder that lmcore.save or transformers wrote.
        prompts: The beginnings of texts.
        prompt_file: A file of prompts, one a line.
        max_new_tokens: Most tokens of each text after its prompt.
        temperature: 1 draws with the model's probabilities, less makes likely tokens likelier, 0
            always takes the most probable one.
        top_p: Draw only from the fewest tokens that have this share of the probability.
        top_k: Draw only from the k most probable tokens; None draws from all.
        min_p: Draw only from tokens at least this many times as probable as the most probable one.
        repetition_penalty: Above 1, tokens that occurred before become less probable.
        seed: Decides what is drawn; text i uses seed + i.
        n: Texts for each prompt.
        stop: Strings that end a text.
        device: Where to compute: cpu, cuda, mps, or auto for cuda if there is one.
    """
    if n < 1:
        raise ValueError(f"n {n} is less than 1 text for each prompt")
    keep_large_blocks()
    lm = load(folder)
    lm.model.to(Runtime(device=device).resolve(0).device)
    options: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "stop": list(stop),
    }
    given = [*prompts, *(() if prompt_file is None else read_prompts(prompt_file))]
    if given:
        write_texts(lm, given, n, seed, options)
    elif sys.stdin.isatty():
        answer_lines(lm, sys.stdin, n, seed, options)
    else:
        lines = [line for line in sys.stdin.read().splitlines() if line.strip()]
        if not lines:
            raise ValueError("there is no prompt: standard input is empty")
        write_texts(lm, lines, n, seed, options)


def read_prompts(path: Path) -> list[str]:
    """Return the lines of the file at path that are not blank.

    Raises:
        ValueError: the file is not there, has none, or is not UTF-8.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file that is there: name a file of prompts")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start})") from None
    prompts = [line for line in lines if line.strip()]
    if not prompts:
        raise ValueError(f"{path} has no prompts: write one a line")
    return prompts


def write_texts(
    lm: LanguageModel, prompts: list[str], n: int, seed: int, options: dict[str, Any]
) -> None:
    """Print n texts for each prompt: a single one in pieces, several with a rule between them."""
    rows = [prompt for prompt in prompts for _ in range(n)]
    if len(rows) == 1:
        print_pieces(rows[0], lm.stream(rows[0], seed=seed, **options))
        return
    texts = lm.generate(rows, seed=seed, **options)
    print("\n---\n".join(prompt + text for prompt, text in zip(rows, texts, strict=True)))


def answer_lines(
    lm: LanguageModel, lines: Iterator[str], n: int, seed: int, options: dict[str, Any]
) -> None:
    """Ask for prompts and print n texts after each, until a blank line or the end of input."""
    print("Enter a prompt; an empty line or Ctrl-D ends.", file=sys.stderr)
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        prompt = next(lines, "").rstrip("\n")
        if not prompt:
            return
        write_texts(lm, [prompt], n, seed, options)
        seed += n


def print_pieces(prompt: str, pieces: Iterator[str]) -> None:
    """Print the prompt, and each piece as soon as it is there."""
    print(prompt, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()

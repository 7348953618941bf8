"""lmcore evaluate: how well a saved model predicts a text."""

from pathlib import Path
from typing import Annotated

import tyro

from lmcore.evaluation.score_types import Score
from lmcore.evaluation.sliding_window import score_text
from lmcore.files import write_text
from lmcore.generation.saved_model import load
from lmcore.report.token_losses import MAX_TOKENS, token_loss_page
from lmcore.training.runtime import Runtime, keep_large_blocks

MAX_DEFAULT_STRIDE = 64


def run(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")],
    stride: int | None = None,
    html: Path | None = None,
    html_tokens: int = MAX_TOKENS,
    device: str = "auto",
) -> None:
    """Score a text: nats per token and character, bits per byte, perplexity.

    Two scores are printed: one of windows that do not overlap, and one of windows that do, where
    each token has more of the text before it. Both score every token exactly once.

    Args:
        folder: A saved model: a finished run, or a folder that lmcore.save or transformers wrote.
        text: A text file in UTF-8.
        stride: Tokens from one overlapping window to the next. None: 64, or half the context length
            if that is less.
        html: Write a page that shows each token coloured by its loss (overlapping windows).
        html_tokens: Most tokens on that page, from the beginning of the text.
        device: Where to compute: cpu, cuda, or auto for a GPU if there is one.
    """
    keep_large_blocks()
    content = read_text(text)
    lm = load(folder)
    lm.model.to(Runtime(device=device).resolve(0).device)
    context = lm.model.config.context_length
    stride = min(MAX_DEFAULT_STRIDE, max(1, context // 2)) if stride is None else stride
    sliding, nats, ids = score_text(lm.model, lm.tokenizer, content, stride, lm.eos_id)
    chunked = lm.score(content)
    print(f"{text}: {chunked.n_tokens:,} tokens, {chunked.bytes:,} bytes, by {folder}")
    print(score_table({"chunked": chunked, f"sliding, stride {stride}": sliding}, context))
    if lm.eos_id is None:
        print("no end token: the first token counts as drawn from a uniform distribution")
    if html is not None:
        page = token_loss_page(str(text), lm.tokenizer, ids, nats.numpy(), html_tokens)
        write_text(html, page)
        print(f"wrote {html}")


def read_text(path: Path) -> str:
    """Return the text of the file at path.

    Raises:
        ValueError: it is missing, a folder, empty, or not UTF-8.
    """
    if not path.is_file():
        raise ValueError(f"{path} is {'a folder' if path.is_dir() else 'not there'}: name a text")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}): convert it first") from None
    if not text:
        raise ValueError(f"{path} is empty: there is nothing to score")
    return text


def score_table(scores: dict[str, Score], context_length: int) -> str:
    """Return a line for each score, under a heading with the context length."""
    head = f"{f'windows of {context_length}':24}{'nats/token':>12}{'nats/character':>16}"
    lines = [f"{head}{'bits/byte':>11}{'perplexity':>13}{'coverage':>10}"]
    for name, score in scores.items():
        lines.append(
            f"{name:24}{score.loss:12.4f}{score.nats_per_character:16.4f}{score.bpb:11.4f}"
            f"{score.perplexity:13,.2f}{score.coverage:10.1%}"
        )
    return "\n".join(lines)

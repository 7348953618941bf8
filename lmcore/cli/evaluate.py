"""lmcore evaluate: how well a saved model predicts a text."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from lmcore.data.sources import Reading, documents, files_of
from lmcore.evaluation.score_types import Score
from lmcore.evaluation.sliding_window import score_documents
from lmcore.files import write_text
from lmcore.generation.language_model import LanguageModel
from lmcore.generation.saved_model import load
from lmcore.report.token_losses import MAX_TOKENS, token_loss_page
from lmcore.training.runtime import Runtime, keep_large_blocks

MAX_DEFAULT_STRIDE = 64


def run(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")],
    stride: int | None = None,
    html: Path | None = None,
    html_tokens: int = MAX_TOKENS,
    device: str = "auto",
    reading: Annotated[Reading, tyro.conf.OmitArgPrefixes] = Reading(),  # noqa: B008
) -> None:
    """Score a text: nats per token and character, bits per byte, perplexity.

    Two scores are printed: one of windows that do not overlap, and one of windows that do, where
    each token has more of the text before it. Both score every token exactly once, with an end
    token after each document. Read as `lmcore prepare` read it, a run's validation text has the
    run's validation loss in the first line.

    Args:
        folder: A saved model: a finished run, or a folder that lmcore.save or transformers wrote.
        text: Text files, JSON lines, CSV, Parquet (also .gz and .zst), folders, or hub:owner/name.
        stride: Tokens from one overlapping window to the next. None: 64, or half the context length
            if that is less.
        html: Write a page that shows each token coloured by its loss (overlapping windows).
        html_tokens: Most tokens on that page, from the beginning of the text.
        device: Where to compute: cpu, cuda, mps, or auto for cuda if there is one.
        reading: How files become documents.
    """
    keep_large_blocks()
    files = files_of(text)
    lm = load(folder)
    content = list(documents(files, reading_for(lm, reading)))
    lm.model.to(Runtime(device=device).resolve(0).device)
    context = lm.model.config.context_length
    stride = min(MAX_DEFAULT_STRIDE, max(1, context // 2)) if stride is None else stride
    sliding, nats, ids = score_documents(lm.model, lm.tokenizer, content, stride, lm.eos_id)
    chunked, name = lm.score(content), " ".join(text)
    print(
        f"{name}: {chunked.n_tokens:,} tokens in {len(content):,} documents, {chunked.bytes:,} "
        f"bytes, by {folder}"
    )
    print(score_table({"chunked": chunked, f"sliding, stride {stride}": sliding}, context))
    if lm.eos_id is None:
        print("no end token: the first token counts as drawn from a uniform distribution, and")
        print("documents follow one another directly")
    if html is not None:
        page = token_loss_page(name, lm.tokenizer, ids, nats.numpy(), html_tokens)
        write_text(html, page)
        print(f"wrote {html}")


def reading_for(lm: LanguageModel, reading: Reading) -> Reading:
    """Return reading, split on the model's end token if reading does not say where to split."""
    is_default = reading.split_on == Reading().split_on
    return replace(reading, split_on=lm.eos_tokens[0]) if is_default and lm.eos_tokens else reading


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

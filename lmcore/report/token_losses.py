"""A page that shows a text with each token coloured by its loss."""

import html
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Integer

from lmcore.report.text import in_page, visible
from lmcore.tokenizer.base import BaseTokenizer

MAX_TOKENS = 20_000
"""Tokens on a page unless more are asked for; a browser is slow with many more."""

SHADES, MAX_NATS = 16, 8.0
"""Steps from white to the darkest shade, which stands for this loss and above."""

STYLE = """
body { font: 1rem/1.8 ui-monospace, monospace; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #111; background: #fff }
main { white-space: pre-wrap; overflow-wrap: anywhere }
span { border-radius: 2px }
span:hover { outline: 1px solid #111 }
"""


def token_loss_page(
    title: str,
    tokenizer: BaseTokenizer,
    ids: Integer[np.ndarray, "n"],
    nats: Float[np.ndarray, "n"],
    max_tokens: int = MAX_TOKENS,
) -> str:
    """Return a self-contained HTML page of the first max_tokens tokens; nats are their losses.

    Tokens that are parts of one character are shown as one, with their losses in its tooltip. The
    page has no script and loads nothing.
    """
    shown = min(len(ids), max_tokens)
    groups = _whole_characters(tokenizer, ids[:shown].tolist(), nats[:shown].tolist())
    body = "".join(_span(text, losses) for text, losses in groups)
    of_all = "" if shown == len(ids) else f" (the first of {len(ids):,})"
    legend = "".join(_span(f" {loss:g} ", [loss]) for loss in (0.0, 1.0, 2.0, 4.0, 6.0, MAX_NATS))
    shades = "\n".join(
        f".s{shade} {{ background: rgb(213 94 0 / {0.9 * shade / (SHADES - 1):.2f}) }}"
        for shade in range(SHADES)
    )
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(visible(title))}</title>\n<style>{STYLE}{shades}\n</style>\n"
        f"<h1>{html.escape(visible(title))}</h1>\n"
        f"<p>Loss of {shown:,} tokens{of_all}, mean {nats[:shown].mean():.4f} nats per token. "
        f"Shades in nats: {legend}</p>\n<main>{body}</main>\n</html>\n"
    )


def _whole_characters(
    tokenizer: BaseTokenizer, ids: list[int], nats: list[float]
) -> Iterator[tuple[str, list[float]]]:
    """Yield pieces of text of whole characters, each with the losses of its tokens."""
    held, losses = b"", []
    for id, loss in zip(ids, nats, strict=True):
        held, losses = held + tokenizer.decode_bytes([id]), [*losses, loss]
        try:
            text = held.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                continue
            text = held.decode(errors="replace")
        yield text, losses
        held, losses = b"", []
    if losses:
        yield held.decode(errors="replace"), losses


def _span(text: str, losses: list[float]) -> str:
    """Return an element with text on the shade of its greatest loss."""
    loss = max(losses)
    shade = SHADES - 1  # the loss of a diverged model is not a number
    if loss < MAX_NATS:
        shade = round(loss / MAX_NATS * (SHADES - 1))
    tooltip = " + ".join(f"{loss:.2f}" for loss in losses)
    shown = html.escape(in_page(text)).replace("\n", "↵\n")
    return f'<span class="s{shade}" title="{tooltip} nats">{shown}</span>'

"""Text of the data in figures, tables and pages: it appears as it is, whatever signs it has."""

import re

HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Controls, what turns the direction of writing, halves of characters, and what is no character.
No page and no SVG may hold most of them.
"""


def visible(text: str) -> str:
    """Return text with a sign for each character that has none, such as ⏎ for a line break."""
    return HIDDEN.sub(lambda match: _sign(match.group()), text)


def _sign(character: str) -> str:
    if character == "\n":
        return "⏎"
    if character < " ":
        return chr(0x2400 + ord(character))
    return "␡" if character == "\x7f" else f"\\u{ord(character):04x}"


def in_page(text: str) -> str:
    """Return `visible` of text with its line breaks and tabs as they are; markup is not escaped."""
    return HIDDEN.sub(lambda m: m.group() if m.group() in "\n\t" else _sign(m.group()), text)


def in_figure(text: str) -> str:
    """Return text as matplotlib is to draw it, without formulas in it."""
    return in_page(text).replace("$", r"\$")


def in_markdown(text: str) -> str:
    """Return text as a cell of a Markdown table, without markup or formulas in it."""
    signs = {"|": r"\|", "<": "&lt;", "$": r"\$"}
    return "".join(signs.get(character, character) for character in visible(text))

"""Vocabulary files: Hugging Face's tokenizer.json, and GPT-2's vocab.json with merges.txt.

Both write a token's bytes as printable characters, a blank as Ġ. Whatever a file asks for that is
not supported here is an error that names it: ids that are almost right are worse than none.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lmcore.tokenizer.bpe import Pair
from lmcore.tokenizer.pretokens import compiled_pattern

Parts = tuple[dict[int, bytes], list[Pair], list[str], str | None]
"""Vocabulary, merges, special tokens, and the pattern, which is None for GPT-2's."""

Frame = tuple[tuple[int, ...], tuple[int, ...]]
"""The ids before each text and those after it."""
NO_FRAME: Frame = ((), ())

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = [byte for byte in range(256) if byte not in _PRINTABLE]
SYMBOLS = {byte: chr(byte) for byte in _PRINTABLE} | {
    byte: chr(256 + i) for i, byte in enumerate(_HIDDEN)
}
"""The character for each byte: its own if that is printable, else one from 256 on."""
_BYTES = {symbol: byte for byte, symbol in SYMBOLS.items()}


class NotUnderstoodError(ValueError):
    """A file asks for something that is not supported; the message names it."""


def symbols(token: bytes) -> str:
    """Return the characters by which a file writes token's bytes."""
    return "".join(SYMBOLS[byte] for byte in token)


def from_symbols(text: str) -> bytes:
    """Return the bytes that a file writes as text.

    Raises:
        ValueError: a character stands for no byte.
    """
    try:
        return bytes(_BYTES[symbol] for symbol in text)
    except KeyError as error:
        raise ValueError(f"{error.args[0]!r} in {text!r} stands for no byte") from None


SHARED = frozenset("pPsSdDwWbBnrtfvx")
"""Letters that mean the same after a backslash in the regular expressions of `tokenizers`."""

ANY = ()
FILE = {
    "version": ANY,
    "truncation": (None,),
    "padding": (None,),
    "added_tokens": ANY,
    "normalizer": (None,),
    "pre_tokenizer": ANY,
    "post_processor": ANY,
    "decoder": ANY,
    "model": ANY,
}
ADDED = {
    "id": ANY,
    "content": ANY,
    "special": ANY,
    "normalized": ANY,
    "single_word": (False,),
    "lstrip": (False,),
    "rstrip": (False,),
}
BPE = {
    "type": ("BPE",),
    "dropout": (None,),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "ignore_merges": (False, True),
    "unk_token": ANY,  # these three are for bytes that the vocabulary lacks: there are none
    "fuse_unk": ANY,
    "byte_fallback": ANY,
    "vocab": ANY,
    "merges": ANY,
    "aliases": ANY,  # ours: ids that encoding never gives, since another id has the same bytes
}
UNIGRAM = {"type": ("Unigram",), "unk_id": (None,), "byte_fallback": (False,), "vocab": ANY}
BYTE_LEVEL = {
    "type": ("ByteLevel",),
    "add_prefix_space": (False,),
    "trim_offsets": ANY,
    "use_regex": (True, False),
}
BYTE_LEVEL_AFTERWARDS = BYTE_LEVEL | {"add_prefix_space": ANY}
TEMPLATE = {"type": ("TemplateProcessing",), "single": ANY, "pair": ANY, "special_tokens": ANY}
DIGITS = {"type": ("Digits",), "individual_digits": (False, True)}
SPLIT = {"type": ("Split",), "pattern": ANY, "behavior": ("Isolated",), "invert": (False,)}


def require(part: str, stored: Any, known: Mapping[str, tuple]) -> None:
    """Raise NotUnderstoodError if stored has a key or a value that is not in known."""
    if not isinstance(stored, dict):
        raise NotUnderstoodError(f"{part} {stored!r}")
    for key, value in stored.items():
        named = value.get("type", value) if isinstance(value, dict) else value
        if key not in known:
            raise NotUnderstoodError(f"{part} {key}".strip())
        if known[key] is not ANY and value not in known[key]:
            raise NotUnderstoodError(f"{part} {key} {named!r}".strip())


def parse_pattern(stored: Any) -> str | None:
    """Return the pattern of a tokenizer.json's pre-tokenizer, None for GPT-2's."""
    is_sequence = isinstance(stored, dict) and stored.get("type") == "Sequence"
    *splits, last = stored["pretokenizers"] if is_sequence else [stored]
    if len(splits) > 1:
        steps = ", ".join(str(step.get("type")) for step in (*splits, last))
        raise NotUnderstoodError(f"a pre_tokenizer of the steps {steps}")
    for step in splits:
        is_digits = isinstance(step, dict) and step.get("type") == "Digits"
        require("pre_tokenizer", step, DIGITS if is_digits else SPLIT)
    require("pre_tokenizer", last, BYTE_LEVEL)
    kind = splits[0]["type"] if splits else None
    uses_regex = last.get("use_regex", True)
    if uses_regex == (kind == "Split"):
        raise NotUnderstoodError(f"pre_tokenizer use_regex together with {len(splits)} Split")
    if kind != "Split":
        return None if kind is None else digits_pattern(splits[0].get("individual_digits", False))
    require("pre_tokenizer pattern", splits[0]["pattern"], {"Regex": ANY})
    return shared_pattern(_of(str, splits[0]["pattern"]["Regex"]))


def digits_pattern(are_single: bool) -> str:
    """Return the pattern for GPT-2's after Digits has cut out numbers, as digits or in runs."""
    numbers = r"\p{N}" if are_single else r"\p{N}+"
    words = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?[^\s\p{L}\p{N}]+"
    return rf"{words}|{numbers}|\s+(?![^\s\p{{N}}])|\s+"


def shared_pattern(pattern: str) -> str:
    """Return pattern, which is written for the regular expressions of `tokenizers`.

    Raises:
        NotUnderstoodError: it is none here, or has something that means something else here.
    """
    escapes = re.findall(r"\\[A-Za-z]|&&", pattern)
    others = [escape for escape in escapes if escape[1] not in SHARED]
    if others:
        raise NotUnderstoodError(f"pre_tokenizer pattern with {others[0]}")
    try:
        compiled_pattern(pattern)
    except ValueError as error:
        raise NotUnderstoodError(f"pre_tokenizer {error}") from None
    return pattern


def parse_template(stored: Any) -> Frame:
    """Return the frame of a tokenizer.json's post-processor.

    Its settings for pairs of texts and for offsets do not matter here and are ignored.
    """
    if stored is None:
        return NO_FRAME
    is_sequence = isinstance(stored, dict) and stored.get("type") == "Sequence"
    frame = NO_FRAME
    for step in stored["processors"] if is_sequence else [stored]:
        is_template = isinstance(step, dict) and step.get("type") == "TemplateProcessing"
        require("post_processor", step, TEMPLATE if is_template else BYTE_LEVEL_AFTERWARDS)
        if is_template and frame != NO_FRAME:
            raise NotUnderstoodError("post_processor of two TemplateProcessing")
        if is_template:
            frame = _around_text(step)
    return frame


def _around_text(stored: Mapping[str, Any]) -> Frame:
    sides: list[list[int]] = [[]]
    for [(kind, piece)] in (part.items() for part in stored["single"]):
        if kind == "SpecialToken":
            ids = stored["special_tokens"][piece["id"]]["ids"]
            sides[-1] += [_of(int, id) for id in ids]
        elif (kind, piece["id"]) == ("Sequence", "A"):
            sides.append([])
        else:
            raise NotUnderstoodError(f"post_processor {kind} {piece['id']!r}")
    if len(sides) != 2:
        raise NotUnderstoodError(f"post_processor with the text {len(sides) - 1} times")
    return tuple(sides[0]), tuple(sides[1])


def template(frame: Frame, special_of: Mapping[int, str]) -> dict[str, Any] | None:
    """Return the post-processor that puts frame around a text, and around both texts of a pair."""
    if frame == NO_FRAME:
        return None

    def side(ids: Iterable[int], number: int) -> list[dict]:
        return [{"SpecialToken": {"id": special_of[id], "type_id": number}} for id in ids]

    def framed(name: str, number: int) -> list[dict]:
        text = {"Sequence": {"id": name, "type_id": number}}
        return [*side(frame[0], number), text, *side(frame[1], number)]

    names = {special_of[id]: id for ids in frame for id in ids}
    return {
        "type": "TemplateProcessing",
        "single": framed("A", 0),
        "pair": [*framed("A", 0), *framed("B", 1)],
        "special_tokens": {
            name: {"id": name, "ids": [id], "tokens": [name]} for name, id in names.items()
        },
    }


def _of(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} should be of type {kind.__name__}")
    return value


def parse_vocab(stored: Mapping[str, Any], specials: Iterable[str]) -> dict[int, bytes]:
    """Return id → bytes from a file's token → id, where special tokens are written as text."""
    specials, vocab = set(specials), {}
    for text, id in stored.items():
        token = text.encode() if text in specials else from_symbols(text)
        if vocab.setdefault(_of(int, id), token) != token:
            raise ValueError(f"id {id} is both {vocab[id]!r} and {token!r}")
    return vocab


def parse_frame(stored: Any, known_model: Mapping[str, tuple]) -> tuple[dict[str, int], str | None]:
    """Return the special tokens and the pattern of a tokenizer.json with a model of known_model.

    Raises:
        NotUnderstoodError: it asks for something that is not supported, such as a normalizer.
        KeyError, TypeError, ValueError: it is damaged.
    """
    if "model" not in _of(dict, stored):
        raise ValueError("it has no model")
    require("", stored, FILE)
    require("model", stored["model"], known_model)
    require("decoder", stored["decoder"], BYTE_LEVEL_AFTERWARDS)
    parse_template(stored["post_processor"])
    added = stored["added_tokens"]
    for token in added:
        require("added token", token, ADDED)
    if len({token.get("normalized", False) for token in added}) > 1:
        raise NotUnderstoodError("added token normalized for some tokens but not for others")
    specials = {_of(str, token["content"]): _of(int, token["id"]) for token in added}
    return specials, parse_pattern(stored["pre_tokenizer"])


def parse_bpe(stored: Any) -> Parts:
    """Return the parts of a tokenizer.json of a byte-level BPE.

    Raises:
        NotUnderstoodError, KeyError, TypeError, ValueError: see `parse_frame`.
    """
    specials, pattern = parse_frame(stored, BPE)
    model = stored["model"]
    vocab = parse_vocab(model["vocab"], specials)
    for id, text in model.get("aliases", {}).items():
        vocab[int(id)] = from_symbols(text)
    for special, id in specials.items():
        vocab.setdefault(id, special.encode())
    ids = {token: id for id, token in sorted(vocab.items(), reverse=True)}
    for special, id in specials.items():
        if ids.get(special.encode()) != id:
            raise ValueError(f"special token {special!r} shares id {id} or its bytes with another")
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    pairs = [(from_symbols(left), from_symbols(right)) for left, right in merges]
    return vocab, pairs, list(specials), pattern


def parse_unigram(stored: Any) -> tuple[list[tuple[bytes, float]], list[str]]:
    """Return the pieces with their scores, and the special tokens, of a tokenizer.json of Unigram.

    Raises:
        NotUnderstoodError, KeyError, TypeError, ValueError: see `parse_frame`.
    """
    specials, pattern = parse_frame(stored, UNIGRAM)
    if pattern is not None:
        raise NotUnderstoodError(f"pre_tokenizer pattern {pattern!r}")
    if parse_template(stored["post_processor"]) != NO_FRAME:
        raise NotUnderstoodError("post_processor type 'TemplateProcessing'")
    pieces = [(text, _of(float, score)) for text, score in stored["model"]["vocab"]]
    for special, id in specials.items():
        if not 0 <= id < len(pieces) or pieces[id][0] != special:
            raise ValueError(f"special token {special!r} is not piece {id}")
    return [
        (text.encode() if text in specials else from_symbols(text), score) for text, score in pieces
    ], list(specials)


def names(
    vocab: Mapping[int, bytes], merges: Iterable[Pair], specials: Mapping[str, int]
) -> dict[str, int]:
    """Return a file's token → id, with the smaller of two ids for the same bytes.

    Raises:
        ValueError: a special token is written like another token, or the vocabulary lacks a token
            of a merge.
    """
    raw = {id: special for special, id in specials.items()}
    ids: dict[str, int] = {}
    for id, token in sorted(vocab.items()):
        text = raw.get(id) or symbols(token)
        if vocab[ids.setdefault(text, id)] != token:
            raise ValueError(
                f"{vocab[ids[text]]!r} and {token!r} are both written {text!r}: "
                "give the special token another name"
            )
    for left, right in merges:
        for token in (left, right, left + right):
            if symbols(token) not in ids:
                raise ValueError(
                    f"merge {(left, right)!r} cannot be written: {token!r} is not in the "
                    "vocabulary, or is a special token whose text is not ASCII"
                )
    return ids


def frame(specials: Mapping[str, int], pattern: str | None, model: dict[str, Any]) -> dict:
    """Return the content of a tokenizer.json with this model."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    steps = [split | {"invert": False}, byte_level | {"use_regex": False}]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": id, "content": special, **flags, "special": True}
            for special, id in specials.items()
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level | {"use_regex": True}
        if pattern is None
        else {"type": "Sequence", "pretokenizers": steps},
        "post_processor": None,
        "decoder": byte_level | {"use_regex": True},
        "model": model,
    }


def bpe_json(
    vocab: Mapping[int, bytes],
    merges: Iterable[Pair],
    specials: Mapping[str, int],
    pattern: str | None,
) -> dict[str, Any]:
    """Return the content of a tokenizer.json of a byte-level BPE; `parse_bpe` reads it.

    Raises:
        ValueError: see `names`.
    """
    merges = list(merges)
    ids = names(vocab, merges, specials)
    written = set(ids.values())
    aliases = {id: symbols(token) for id, token in vocab.items() if id not in written}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": ids,
        "merges": [[symbols(left), symbols(right)] for left, right in merges],
    }
    return frame(specials, pattern, model | ({"aliases": aliases} if aliases else {}))


def unigram_json(
    pieces: Iterable[tuple[bytes, float]], specials: Mapping[str, int]
) -> dict[str, Any]:
    """Return the content of a tokenizer.json of Unigram; `parse_unigram` reads it."""
    raw = {id: special for special, id in specials.items()}
    vocab = [[raw.get(id) or symbols(piece), score] for id, (piece, score) in enumerate(pieces)]
    model = {"type": "Unigram", "unk_id": None, "vocab": vocab, "byte_fallback": False}
    return frame(specials, None, model)


def parse_merges_txt(text: str) -> list[Pair]:
    """Return the merges of a merges.txt, whose first line may be its version."""
    pairs = [line.split(" ") for line in text.removesuffix("\n").splitlines()]
    if pairs and pairs[0][0].startswith("#version"):
        del pairs[0]
    return [(from_symbols(left), from_symbols(right)) for left, right in pairs]


def require_all_merges(
    vocab: Mapping[int, bytes], merges: Iterable[Pair], specials: Iterable[str]
) -> None:
    """Raise ValueError if a token of vocab can be made of two others, but no merge makes it.

    Such a vocabulary has had more merges: the end of their file is missing.
    """
    tokens, merges = set(vocab.values()), list(merges)
    tokens -= {special.encode() for special in specials}
    others = tokens - {left + right for left, right in merges}
    lost = [
        token
        for token in others
        if any(token[:n] in tokens and token[n:] in tokens for n in range(1, len(token)))
    ]
    if lost:
        raise ValueError(
            f"there are {len(merges)} merges, and none makes {min(lost)!r} or {len(lost) - 1} "
            "others of the vocabulary: the end of the merges is missing"
        )


def merges_txt(merges: Iterable[Pair]) -> str:
    """Return the content of a merges.txt."""
    lines = [f"{symbols(left)} {symbols(right)}\n" for left, right in merges]
    return "".join(["#version: 0.2\n", *lines])

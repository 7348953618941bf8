"""What each survey measures of its texts."""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lmcore.studies.tokenizer.experiments import Survey
from lmcore.studies.tokenizer.texts import split
from lmcore.tasks.titles import SPECIAL_TOKENS, TitlesConfig, joined, split_titles
from lmcore.tokenizer.bpe import ALPHABET, Pair, count_pre_tokens, merge_tokens, train_bpe
from lmcore.tokenizer.encoder import Encoder
from lmcore.tokenizer.pretokens import plain_pieces

END = "<|endoftext|>"

Row = dict[str, Any]


def merges_of(text: str, vocab_size: int) -> list[Pair]:
    """Return the merges learned from text, fewer than asked for if it has no more.

    The merges of a smaller vocabulary are the first of these.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train_bpe([text.replace(END, "")], vocab_size)[1]


def cost_of(text: str, merges: Sequence[Pair]) -> Row:
    """Return the number of tokens, characters and bytes of text."""
    text = text.replace(END, "")
    tokens = len(Encoder(merges).encode(text))
    return {"tokens": tokens, "characters": len(text), "bytes": len(text.encode())}


def compression(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield tokens by vocabulary size, of the held-out part and of as much training text."""
    for name, text in texts.items():
        train, test = split(text, survey.held_out)
        merges = merges_of(train, max(survey.vocab_sizes))
        for size in survey.vocab_sizes:
            some = merges[: size - len(ALPHABET)]
            row = {"text": name, "vocab_size": len(ALPHABET) + len(some)}
            seen = cost_of(train[-len(test) :], some)
            yield row | {"held_out": cost_of(test, some), "learned": seen}
            if len(some) < size - len(ALPHABET):
                break


def sample(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield tokens of the held-out part with merges learned from shorter training texts."""
    for name, text in texts.items():
        train, test = split(text, survey.held_out)
        for part in beginnings(train):
            merges = merges_of(part, max(survey.vocab_sizes))
            for size in survey.vocab_sizes:
                if len(merges) >= size - len(ALPHABET):
                    row = {"text": name, "vocab_size": size, "learned_bytes": len(part.encode())}
                    yield row | {"held_out": cost_of(test, merges[: size - len(ALPHABET)])}


def beginnings(text: str, least: int = 2**14) -> list[str]:
    """Return beginnings of text, each twice as long as the one before, up to all of it."""
    n = len(text)
    halvings = range(max(0, (n // least).bit_length() - 1), -1, -1)
    return [text[: n // 2**i] for i in halvings]


def domains(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield tokens of each text's held-out part by the merges of each text."""
    parts = {name: split(text, survey.held_out) for name, text in texts.items()}
    for learned, (train, _) in parts.items():
        merges = merges_of(train, survey.vocab_sizes[0])
        for encoded, (_, test) in parts.items():
            yield {"learned": learned, "encoded": encoded} | cost_of(test, merges)


def longest(survey: Survey, texts: dict[str, str], n: int = 12) -> Iterator[Row]:
    """Yield the longest tokens of each text's vocabulary and how often they occur."""
    for name, text in texts.items():
        train, _ = split(text, survey.held_out)
        encoder = Encoder(merges_of(train, survey.vocab_sizes[0]))
        counts = np.bincount(encoder.encode(train.replace(END, "")))
        ranks = sorted(range(len(encoder.tokens)), key=lambda r: (-len(encoder.tokens[r]), r))
        for rank in ranks[:n]:
            token, count = encoder.tokens[rank], int(counts[rank]) if rank < len(counts) else 0
            row = {"text": name, "bytes": len(token), "merge": rank - len(ALPHABET)}
            yield row | {"token": token.decode(errors="replace"), "count": count}


def alphabets(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield tokens of the held-out part with BPE over bytes and over characters, of equal size.

    The vocabulary over characters also holds the 256 bytes, for unknown characters.
    """
    for name, text in texts.items():
        train, test = split(text, survey.held_out)
        merges = merges_of(train, max(survey.vocab_sizes))
        known, over_characters = frozenset[str](), list[Pair]()
        for size in sorted(survey.vocab_sizes, reverse=True):
            common = common_characters(train, size - len(ALPHABET))
            if common != known:  # smaller vocabularies of the same characters hold the first merges
                known = common
                n_new = size - len(ALPHABET) - len(known)
                over_characters = character_merges(train, known, n_new)
            some = over_characters[: size - len(ALPHABET) - len(known)]
            by_bytes = cost_of(test, merges[: size - len(ALPHABET)])
            yield {
                "text": name,
                "vocab_size": size,
                "byte_tokens": by_bytes.pop("tokens"),
                "character_tokens": character_cost(test, known, some),
                "distinct": len(set(train)),
                "known": len(known),
                "unknown": sum(character not in known for character in test),
                **by_bytes,
            }


def common_characters(text: str, most: int, coverage: float = 0.9995) -> frozenset[str]:
    """Return the most frequent characters, at most `most`, that cover this share of text."""
    counts, covered, known = Counter(text), 0, []
    for character, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        if len(known) == most or covered >= coverage * len(text):
            break
        known.append(character)
        covered += count
    return frozenset(known)


def in_characters(word: str, known: frozenset[str]) -> Iterator[tuple[bytes, ...]]:
    """Yield the parts of word between unknown characters, as tuples of characters."""
    for stretch in re.split("[^" + re.escape("".join(sorted(known))) + "]", word):
        if stretch:
            yield tuple(character.encode() for character in stretch)


def character_merges(text: str, known: frozenset[str], n_new: int) -> list[Pair]:
    """Return the merges of a BPE whose alphabet is the known characters."""
    counted: Counter[tuple[bytes, ...]] = Counter()
    for word, count in count_pre_tokens([text]).items():
        for stretch in in_characters(word.decode(), known):
            counted[stretch] += count
    return merge_tokens(counted, n_new)


def character_cost(text: str, known: frozenset[str], merges: Sequence[Pair]) -> int:
    """Return the number of tokens of text, in which an unknown character is its bytes.

    The first merges join the bytes of each known character.
    """
    joins = [pair for character in sorted(known) for pair in joined_bytes(character.encode())]
    encoder = Encoder([*dict.fromkeys(joins), *merges])
    counts = np.bincount(encoder.encode(text), minlength=len(encoder.tokens))
    whole = {character.encode() for character in known}
    whole |= {left + right for left, right in merges}
    # a beginning shared with a known character was joined too: it is no entry, but its bytes are
    lengths = [1 if token in whole else len(token) for token in encoder.tokens]
    return int(counts @ np.array(lengths))


def joined_bytes(character: bytes) -> list[Pair]:
    """Return the merges that join a character's bytes from left to right."""
    return [(character[:i], character[i : i + 1]) for i in range(1, len(character))]


def growth(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield the number and bytes of distinct pre-tokens in growing beginnings of a text.

    A word that is cut at the end of a beginning counts as its parts.
    """
    for name, text in texts.items():
        words, done = Counter[bytes](), 0
        for part in beginnings(text):
            words.update(count_pre_tokens(plain_pieces([part[done:]], [END])))
            done = len(part)
            row = {"text": name, "bytes": len(part.encode()), "distinct": len(words)}
            yield row | {"distinct_bytes": sum(map(len, words))}


def evaluator(survey: Survey, texts: dict[str, str]) -> Iterator[Row]:
    """Yield the tokens of the challenge's validation titles by vocabulary size.

    As in the challenge, the tokenizer learns from training and validation titles, a blank goes
    before each title and <eos> after it, and special tokens are part of the vocabulary.
    """
    for name, text in texts.items():
        titles = [line.strip() for line in text.split("\n") if line.strip()]
        n_titles = min(TitlesConfig().n_titles, len(titles) * 9 // 10)
        n_test = min(TitlesConfig().n_test_titles, len(titles) - n_titles)
        splits = split_titles(titles, TitlesConfig(n_titles=n_titles, n_test_titles=n_test))
        learned = [f" {title}" for part in ("train", "validation") for title in splits[part]]
        held_out = splits["validation"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            merges = train_bpe(learned, max(survey.vocab_sizes) - len(SPECIAL_TOKENS))[1]
        for size in survey.vocab_sizes:
            encoder = Encoder(merges[: size - len(ALPHABET) - len(SPECIAL_TOKENS)])
            tokens = sum(len(encoder.encode(f" {title}")) + 1 for title in held_out)
            row = {"text": name, "vocab_size": size, "tokens": tokens}
            yield row | {"characters": len(joined(held_out))}


MEASURES: dict[str, Callable[[Survey, dict[str, str]], Iterator[Row]]] = {
    measure.__name__: measure
    for measure in (compression, sample, domains, longest, alphabets, growth, evaluator)
}

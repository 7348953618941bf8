"""A grammar of headline-like titles whose entropy is known exactly.

A title is a template whose slots are filled independently. No two choices give the same title, so
the entropy of titles is the entropy of the choices, and no model's loss can be below it.
"""

import itertools
import math
from collections import defaultdict
from functools import cache

import numpy as np

SLOTS: dict[str, tuple[str, ...]] = {
    "maker": ("Google", "Apple", "Amazon", "Mozilla", "Intel", "Netflix", "Tesla", "NASA"),
    "verb": ("launches", "kills", "opens", "buys", "patches", "rewrites"),
    "thing": (
        "a database", "a compiler", "a browser", "a kernel", "a debugger", "a chip",
        "a search engine", "a phone", "a satellite", "a robot",
    ),
    "language": ("Rust", "Go", "Python", "Haskell", "C", "Lisp", "JavaScript", "Erlang"),
    "adjective": ("tiny", "fast", "free", "simple", "modern", "portable"),
    "project": ("editor", "game", "scheduler", "parser", "emulator", "chat server", "shell"),
    "question": ("learn", "trust", "replace", "teach", "test"),
    "year": tuple(str(year) for year in range(1990, 2020)),
    "reason": ("matters", "failed", "is slow", "won", "scares me"),
}  # fmt: skip
TEMPLATES: tuple[tuple[float, str], ...] = (
    (0.30, "{maker} {verb} {thing}"),
    (0.15, "{maker} {verb} {thing} ({year})"),
    (0.25, "Show HN: A {adjective} {project} in {language}"),
    (0.10, "Ask HN: How do you {question} {language}?"),
    (0.12, "Why {language} {reason}"),
    (0.08, "The {project} of {year}"),
)
"""Probability and text. In a slot, the entry of rank r has a probability proportional to 1/r."""


def weights(slot: str) -> np.ndarray:
    """Return the probability of each entry of slot, by Zipf's law."""
    raw = 1 / np.arange(1, len(SLOTS[slot]) + 1)
    return raw / raw.sum()


def slots_of(template: str) -> list[str]:
    """Return the names of the slots of template, in order."""
    return [part.split("}")[0] for part in template.split("{")[1:]]


def titles(n: int, seed: int) -> list[str]:
    """Return n titles drawn independently."""
    rng = np.random.default_rng(seed)
    shares = np.array([share for share, _ in TEMPLATES])
    kinds = rng.choice(len(TEMPLATES), size=n, p=shares / shares.sum())
    out = np.empty(n, dtype=object)
    for kind, (_, template) in enumerate(TEMPLATES):
        places = np.flatnonzero(kinds == kind)
        slots = slots_of(template)
        drawn = [rng.choice(SLOTS[slot], size=len(places), p=weights(slot)) for slot in slots]
        for place, *entries in zip(places, *drawn, strict=True):
            out[place] = template.format(**dict(zip(slots, entries, strict=True)))
    return out.tolist()


def stories(n: int, seed: int, n_sentences: int = 6) -> list[str]:
    """Return n stories, each of n_sentences titles drawn independently."""
    sentences = [f"{title.rstrip('?')}." for title in titles(n * n_sentences, seed)]
    return [
        " ".join(sentences[start : start + n_sentences])
        for start in range(0, len(sentences), n_sentences)
    ]


@cache
def probabilities() -> dict[str, float]:
    """Return every title of the grammar with its probability."""
    total: defaultdict[str, float] = defaultdict(float)
    for share, template in TEMPLATES:
        slots = slots_of(template)
        for entries in itertools.product(*(range(len(SLOTS[slot])) for slot in slots)):
            filled = {slot: SLOTS[slot][i] for slot, i in zip(slots, entries, strict=True)}
            chance = math.prod(weights(slot)[i] for slot, i in zip(slots, entries, strict=True))
            total[template.format(**filled)] += share * chance
    return dict(total)


def entropy() -> float:
    """Return the entropy of one title in nats: of its template and of its slots."""
    nats = 0.0
    for share, template in TEMPLATES:
        inner = sum(-(weights(slot) @ np.log(weights(slot))) for slot in slots_of(template))
        nats += share * (inner - math.log(share))
    return float(nats)


def surprise(drawn: list[str]) -> float:
    """Return -log of the probability of these titles in nats, the loss of a perfect model."""
    known = probabilities()
    return -math.fsum(math.log(known[title]) for title in drawn)

"""Training a byte-level BPE: count pre-tokens, then merge the most frequent pair again and again.

Tokens are byte strings throughout, so a tie between pairs is broken by comparing bytes.
"""

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import regex
from tqdm import tqdm

GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""How GPT-2 cuts text into pre-tokens, which merges never cross (Radford et al. 2019)."""

Pair = tuple[bytes, bytes]
ALPHABET = tuple(bytes([value]) for value in range(256))


def split_on_specials(text: str, special_tokens: Iterable[str]) -> list[str]:
    """Return text cut at each special token: plain text at even places, specials at odd ones.

    Where specials overlap, the longest one wins.
    """
    specials = sorted(special_tokens, key=len, reverse=True)
    if not specials:
        return [text]
    return regex.split(f"({'|'.join(map(regex.escape, specials))})", text)


def count_pre_tokens(
    texts: Iterable[str], special_tokens: Iterable[str], pattern: str = GPT2_PATTERN
) -> Counter[bytes]:
    """Return how often each pre-token occurs; special tokens are boundaries and never counted."""
    specials, find = tuple(special_tokens), regex.compile(pattern).findall
    counts: Counter[str] = Counter()
    for text in texts:
        for plain in split_on_specials(text, specials)[::2]:
            counts.update(find(plain))
    return Counter({pre_token.encode(): count for pre_token, count in counts.items()})


class _Candidate:
    """A pair in the queue: more frequent first, then the lexicographically greater pair."""

    __slots__ = ("count", "pair")

    def __init__(self, count: int, pair: Pair):
        self.count, self.pair = count, pair

    def __lt__(self, other: "_Candidate") -> bool:
        return (self.count, self.pair) > (other.count, other.pair)


def _merged(word: tuple[bytes, ...], pair: Pair) -> tuple[bytes, ...]:
    """Return word with each occurrence of pair joined, from left to right."""
    out, i = [], 0
    while i < len(word):
        if word[i : i + 2] == pair:
            out.append(pair[0] + pair[1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def merge_pairs(pre_tokens: Counter[bytes], n_new: int, progress: bool = False) -> list[Pair]:
    """Return the merges, in order, that add n_new tokens to the byte alphabet.

    Two routes can spell the same bytes. The second is kept as a merge and adds no token, so the
    list can be longer than n_new; it is shorter where the text holds nothing more to merge.
    """
    words = [tuple(ALPHABET[byte] for byte in word) for word in pre_tokens]
    counts = list(pre_tokens.values())
    pair_counts: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        for pair in itertools.pairwise(word):
            pair_counts[pair] += counts[i]
            places[pair].add(i)
    queue = [_Candidate(count, pair) for pair, count in pair_counts.items()]
    heapq.heapify(queue)
    merges: list[Pair] = []
    spelled = set(ALPHABET)
    with tqdm(total=n_new, desc="merges", unit="token", disable=not progress) as bar:
        while queue and len(spelled) - len(ALPHABET) < n_new:
            best = heapq.heappop(queue)
            pair = best.pair
            if pair_counts.get(pair) != best.count:
                continue  # an older count of this pair: the present one is queued too
            merges.append(pair)
            if pair[0] + pair[1] not in spelled:
                spelled.add(pair[0] + pair[1])
                bar.update()
            changed: Counter[Pair] = Counter()
            for i in places.pop(pair):
                old, new = words[i], _merged(words[i], pair)
                words[i] = new
                for gone in itertools.pairwise(old):
                    changed[gone] -= counts[i]
                for come in itertools.pairwise(new):
                    changed[come] += counts[i]
                    places[come].add(i)
            del pair_counts[pair]
            for other, change in changed.items():
                if other != pair and change:
                    pair_counts[other] += change
                    if pair_counts[other]:
                        heapq.heappush(queue, _Candidate(pair_counts[other], other))
    return merges


def train_bpe(
    text: str | Path | Iterable[str],
    vocab_size: int,
    special_tokens: Iterable[str] = (),
    *,
    pattern: str = GPT2_PATTERN,
    progress: bool = False,
) -> tuple[dict[int, bytes], list[Pair]]:
    """Return (vocab, merges) learned from a file's path or from texts (Sennrich 2016, 1508.07909).

    Ids count special tokens first, then the 256 bytes, then merges; vocab_size counts all three.
    The most frequent pair is merged first, ties go to the lexicographically greater pair of byte
    strings. A text too small for vocab_size gives the smaller vocabulary it can fill.

    Raises:
        ValueError: vocab_size has no room for the specials and the bytes, or the text is empty.
        OSError, UnicodeDecodeError: the file cannot be read as UTF-8.
    """
    specials = list(dict.fromkeys(special_tokens))
    n_new = vocab_size - len(specials) - len(ALPHABET)
    if n_new < 0:
        raise ValueError(
            f"vocab_size {vocab_size} is too small: {len(ALPHABET)} bytes and "
            f"{len(specials)} special tokens need {len(ALPHABET) + len(specials)}"
        )
    # as bytes: a file opened as text has its line ends changed
    texts = [Path(text).read_bytes().decode()] if isinstance(text, str | Path) else text
    pre_tokens = count_pre_tokens(texts, specials, pattern)
    if not pre_tokens:
        raise ValueError("there is no text to train a tokenizer on")
    merges = merge_pairs(pre_tokens, n_new, progress)
    tokens = [special.encode() for special in specials] + list(ALPHABET)
    tokens += list(dict.fromkeys(left + right for left, right in merges))
    return dict(enumerate(tokens)), merges

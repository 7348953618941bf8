"""Plain text to tokens: merges are applied in their order inside each pre-token.

A token's rank is its number here: the 256 bytes come first, then merged tokens in the order in
which they are first made. The first texts are encoded in plain Python; once they add up, `kernels`
takes over with the same result.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int32

from lmcore.tokenizer.bpe import ALPHABET, Pair
from lmcore.tokenizer.kernels.compiler import works
from lmcore.tokenizer.pretokens import GPT2_PATTERN, pieces, pre_token_finder
from lmcore.tokenizer.specials import SpecialTokens

PATIENCE = 2**18 - 1
"""Beyond this many characters in all, starting Numba pays off."""

FEW = 200
"""Up to this many characters, plain Python is done before compiled code has its arrays."""

BATCH = 2**18
"""How many characters of small texts are encoded in one go."""

MOST_CACHED = 2**16
"""How many pre-tokens plain Python caches."""

NO_SPECIALS = SpecialTokens(())

Ranks = Int32[np.ndarray, "tokens"]


class Encoder:
    """Turns plain text to ranks by given merges. It has no special tokens. Threads may share it.

    Two merges may make the same token, and a pair may be merged a second time after a later merge
    has made its parts again. So the next merge is looked up by its pair among those after the last
    one applied. tiktoken looks it up by the bytes of the token alone, which are the same.

    A pre-token in whole becomes that one token, whatever the merges would make of it; a
    tokenizer.json calls this ignore_merges.
    """

    def __init__(
        self, merges: Sequence[Pair], pattern: str = GPT2_PATTERN, whole: Iterable[bytes] = ()
    ):
        self.pattern, whole = pattern, list(whole)
        made = (left + right for left, right in merges)
        self.tokens = list(dict.fromkeys([*ALPHABET, *made, *whole]))
        rank = {token: rank for rank, token in enumerate(self.tokens)}
        self._rules = [
            (rank[left], rank[right], rank[left + right])
            for left, right in merges
            if left in rank and right in rank  # a part that no merge makes never occurs
        ]
        self._numbers: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for number, (left, right, _) in enumerate(self._rules):
            self._numbers[left, right].append(number)
        self._whole = {token: rank[token] for token in whole}
        self._find = pre_token_finder(pattern)
        self._cache: dict[str, list[int]] = {}
        self._n_interpreted = 0

    def encode(self, text: str) -> Ranks:
        """Return the ranks of text.

        Raises:
            UnicodeEncodeError: the text has a lone surrogate, which no bytes stand for.
        """
        return next(self.encode_many([text]))

    def encode_many(self, texts: Iterable[str]) -> Iterator[Ranks]:
        """Yield the ranks of each text, in order; see `encode`."""
        waiting: list[Ranks] = []
        for batch in self._batches(texts):
            for ranks, is_end in self._encode_batch(batch):
                waiting.append(ranks)
                if is_end:
                    yield np.concatenate(waiting) if len(waiting) > 1 else ranks
                    waiting = []

    def _batches(self, texts: Iterable[str]) -> Iterator[list[tuple[str, bool]]]:
        """Yield batches of pieces of texts, each with whether it is the last of its text."""
        batch, size = [], 0
        for text in texts:
            for piece, is_end in self._pieces(text):
                batch.append((piece, is_end))
                size += len(piece)
                if size >= BATCH:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    def _pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        if len(text) > BATCH:
            blocks = (text[start : start + BATCH] for start in range(0, len(text), BATCH))
            for piece, _ in pieces(blocks, NO_SPECIALS, self.pattern):
                yield piece, False
            text = ""
        yield text, True

    def _encode_batch(self, batch: list[tuple[str, bool]]) -> list[tuple[Ranks, bool]]:
        texts = [text for text, _ in batch]
        size = sum(map(len, texts))
        is_large = size >= FEW and self._n_interpreted + size > PATIENCE
        can_compile = self.pattern == GPT2_PATTERN and not self._whole
        if is_large and can_compile and works(_encode_compiled):
            self._n_interpreted = PATIENCE
            encoded = self._compiled(texts)
        else:
            self._n_interpreted += size
            encoded = self._interpreted(texts)
        return [(ranks, is_end) for ranks, (_, is_end) in zip(encoded, batch, strict=True)]

    def _compiled(self, texts: list[str]) -> list[Ranks]:
        return self._compiled_encoder.encode(texts)

    @cached_property
    def _compiled_encoder(self) -> Any:
        from lmcore.tokenizer.kernels.encoding import CompiledEncoder

        lengths = np.array([len(token) for token in self.tokens])
        rules = np.array(self._rules, dtype=np.int64).reshape(-1, 3)
        return CompiledEncoder(rules, lengths, n_bytes=4 * BATCH)

    def _interpreted(self, texts: list[str]) -> list[Ranks]:
        out = []
        for text in texts:
            ranks: list[int] = []
            for pre_token in self._find(text):
                cached = self._cache.get(pre_token)
                ranks += self._merged(pre_token) if cached is None else cached
            out.append(np.array(ranks, dtype=np.int32))
        return out

    def _merged(self, pre_token: str) -> list[int]:
        """Return the ranks of a pre-token, and cache them.

        A queue holds the merges that can be applied, by number and then by place.
        """
        raw = pre_token.encode()
        ranks = [self._whole[raw]] if raw in self._whole else list(raw)
        n = len(ranks)
        before, after = list(range(-1, n - 1)), list(range(1, n + 1))
        queue: list[tuple[int, int]] = []

        def add(left: int, done: int) -> None:
            """Queue the first merge after number done of the ranks at left and next to it."""
            for number in self._numbers.get((ranks[left], ranks[after[left]]), ()):
                if number > done:
                    heapq.heappush(queue, (number, left))
                    break

        for i in range(n - 1):
            add(i, -1)
        while queue:
            number, i = heapq.heappop(queue)
            left, right, new = self._rules[number]
            middle = after[i]
            if ranks[i] != left or middle == n or ranks[middle] != right:
                continue  # another merge has taken one of the two
            ranks[i], ranks[middle], after[i] = new, -1, after[middle]
            if after[i] < n:
                before[after[i]] = i
                add(i, number)
            if before[i] >= 0:
                add(before[i], number)
        if len(self._cache) >= MOST_CACHED:
            self._cache.clear()
        self._cache[pre_token] = out = [rank for rank in ranks if rank >= 0]
        return out


def _encode_compiled() -> None:
    """Encode a word with compiled code, to see whether that works."""
    Encoder([(b"a", b"b")])._compiled(["ab"])

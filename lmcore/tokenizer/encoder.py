"""Plain text to tokens: inside each pre-token, merges applied one after the other in their order.

Tokens are numbered by rank: the 256 bytes, then merged ones in the order they are first made. The
first texts are encoded in plain Python; when these add up, `kernels` takes over with the same.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Int32

from lmcore.tokenizer.bpe import ALPHABET, Pair
from lmcore.tokenizer.pretokens import GPT2_PATTERN, pieces, pre_token_finder

PATIENCE = 2**18 - 1
"""With so many characters in plain Python done, or more to do at once, it pays to start Numba."""

FEW = 200
"""So few characters are encoded before the compiled code has been given its arrays."""

BATCH = 2**18
"""How many characters of small texts are encoded in one go."""

MOST_KNOWN = 2**16
"""How many pre-tokens plain Python remembers."""

Ranks = Int32[np.ndarray, "tokens"]


class Encoder:
    """Turns text to ranks by given merges; it knows no special tokens. Threads may share it.

    Two merges may make the same token, and one pair may be merged again later on, once another
    merge has made its parts anew. So merges are found by their pairs, and those after the last one
    applied; the bytes of a token alone, which tiktoken goes by, tell neither.

    A pre-token that is one of whole is that token, whatever merges make of it: this is what a
    tokenizer.json calls ignore_merges.
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
            if left in rank and right in rank  # what is never made is never joined
        ]
        self._numbers: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for number, (left, right, _) in enumerate(self._rules):
            self._numbers[left, right].append(number)
        self._whole = {token: rank[token] for token in whole}
        self._find = pre_token_finder(pattern)
        self._known: dict[str, list[int]] = {}
        self._n_interpreted = 0
        self._idle: list = []

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
        """Yield texts in pieces, each told whether it ends its text, some in one go."""
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
            for piece, _ in pieces(blocks, (), self.pattern):
                yield piece, False
            text = ""
        yield text, True

    def _encode_batch(self, batch: list[tuple[str, bool]]) -> list[tuple[Ranks, bool]]:
        texts = [text for text, _ in batch]
        size = sum(map(len, texts))
        is_patient = size < FEW or self._n_interpreted + size <= PATIENCE
        if self.pattern == GPT2_PATTERN and not self._whole and not is_patient:
            self._n_interpreted = PATIENCE
            ranks = self._compiled(texts)
        else:
            self._n_interpreted += size
            ranks = self._interpreted(texts)
        return [(some, is_end) for some, (_, is_end) in zip(ranks, batch, strict=True)]

    # In plain Python

    def _interpreted(self, texts: list[str]) -> list[Ranks]:
        out = []
        for text in texts:
            ranks: list[int] = []
            for pre_token in self._find(text):
                known = self._known.get(pre_token)
                ranks += self._merged(pre_token) if known is None else known
            out.append(np.array(ranks, dtype=np.int32))
        return out

    def _merged(self, pre_token: str) -> list[int]:
        """Return the ranks of a pre-token, and remember them.

        A queue holds the merges that can be applied, by number and then by place.
        """
        raw = pre_token.encode()
        ranks = [self._whole[raw]] if raw in self._whole else list(raw)
        n = len(ranks)
        before, after = list(range(-1, n - 1)), list(range(1, n + 1))
        queue: list[tuple[int, int]] = []

        def add(left: int, done: int) -> None:
            """Queue the next merge, if any, of the ranks at left and after it."""
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
                continue  # one of the two was joined with another
            ranks[i], ranks[middle], after[i] = new, -1, after[middle]
            if after[i] < n:
                before[after[i]] = i
                add(i, number)
            if before[i] >= 0:
                add(before[i], number)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[pre_token] = out = [rank for rank in ranks if rank >= 0]
        return out

    # Compiled

    @cached_property
    def _compiled_rules(self) -> tuple:
        from lmcore.tokenizer import kernels

        lengths = np.array([len(token) for token in self.tokens])
        return kernels.new_rules(np.array(self._rules, dtype=np.int64).reshape(-1, 3), lengths)

    def _compiled(self, texts: list[str]) -> list[Ranks]:
        from lmcore.tokenizer import kernels

        raw = [text.encode() for text in texts]
        data, ends = kernels.writable(b"".join(raw)), np.cumsum([len(one) for one in raw])
        out = np.empty(len(data), dtype=np.int32)
        try:
            memory, work = self._idle.pop()
        except IndexError:  # a thread more than before is at work
            memory, work = kernels.new_memory(), kernels.new_work(4 * BATCH)
        if len(data) > len(work.token):
            work = kernels.new_work(len(data))
        classes = kernels.character_classes()
        kernels.encode_texts(data, ends, classes, self._compiled_rules, work, memory, out)
        self._idle.append((memory, work))
        return np.split(out[: ends[-1]].copy(), ends[:-1])

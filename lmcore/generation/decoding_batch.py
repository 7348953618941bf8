"""Rows of tokens that a model extends together, one token at a time, with a cache."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from lmcore.generation.decode_step import DecodeStep
from lmcore.generation.sampling import Sampling, UniformNumbers
from lmcore.model.gpt import GPT
from lmcore.model.kv_cache import KVCache

TRANSPOSE_MAX_ROWS, TRANSPOSE_MIN_TOKENS = 4, 16
"""Transposed copies of weights pay off up to this many rows and from this many new tokens."""


class DecodingBatch:
    """Rows of ids that a model extends by one token each per step; their pasts share one cache.

    Beyond the model's context a window slides: when it is full, its newest half is read again.
    Ids in never_drawn get probability 0.
    """

    @torch.inference_mode()
    def __init__(
        self,
        model: GPT,
        rows: list[list[int]],
        max_new_tokens: int,
        sampling: Sampling,
        seeds: Sequence[int],
        never_drawn: Collection[int] = (),
    ):
        device, self.context_length = model.head_weight.device, model.config.context_length
        is_float32_on_cpu = device.type == "cpu" and model.head_weight.dtype == torch.float32
        pays_off = len(rows) <= TRANSPOSE_MAX_ROWS and max_new_tokens >= TRANSPOSE_MIN_TOKENS
        self.decode_step = DecodeStep(model, transpose_tall=is_float32_on_cpu and pays_off)
        self.model, self.rows, self.sampling, self.n_drawn = model, rows, sampling, 0
        # On a CPU a product of few rows with the transposed head is much faster.
        self.head = model.head_weight.t().contiguous()
        self.newest = torch.tensor([ids[-1] for ids in rows], device=device)
        drawing = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        self.uniforms = UniformNumbers(seeds, drawing)
        self.never_drawn = torch.tensor(sorted(never_drawn), dtype=torch.long, device=drawing)
        self.seen = self._seen() if sampling.repetition_penalty != 1 else None
        longest = max(len(ids) for ids in rows)
        capacity = min(self.context_length, longest + max_new_tokens)
        self.cache = KVCache(model.config, len(rows), capacity)
        self._prefill(list(range(len(rows))), self.context_length)

    def _seen(self) -> Tensor:
        """Return which ids occur in each row."""
        seen = torch.zeros(len(self.rows), self.model.config.vocab_size, dtype=torch.bool)
        for of_row, ids in zip(seen, self.rows, strict=True):
            of_row[ids] = True
        return seen.to(self.uniforms.device)

    def _prefill(self, numbers: list[int], n_tokens: int) -> None:
        """Fill the cache of the rows of these numbers with their newest n_tokens but the last.

        They are read together, the shorter ones padded on the right.
        """
        windows = [self.rows[number][-n_tokens:-1] for number in numbers]
        width = max(len(window) for window in windows)
        cache = KVCache(self.model.config, len(numbers), width)
        if width:
            padded = [window + [0] * (width - len(window)) for window in windows]
            self.model.hidden(torch.tensor(padded, device=self.newest.device), cache=cache)
        cache.lengths = [len(window) for window in windows]
        self.cache.replace_rows(numbers, cache)

    @torch.inference_mode()
    def step(self) -> list[int]:
        """Append a new token to each row and return these tokens.

        Raises:
            ValueError: the model's logits are not finite.
        """
        lengths = self.cache.lengths
        full = [row for row, length in enumerate(lengths) if length == self.context_length]
        if full:
            self._prefill(full, (self.context_length + 1) // 2)
        logits = self.decode_step.hidden(self.newest, self.cache) @ self.head
        logits = logits.to(self.uniforms.device)
        if self.n_drawn == 0 and not logits.isfinite().all():
            raise ValueError("the model's logits are not finite: its training diverged")
        if len(self.never_drawn):
            logits.index_fill_(1, self.never_drawn, -torch.inf)
        newest = self.sampling.draw(logits, self.uniforms.next(), self.seen)
        self.n_drawn += 1
        if self.seen is not None:
            self.seen.scatter_(1, newest[:, None], True)
        self.newest, drawn = newest.to(self.newest.device), newest.tolist()
        for ids, id in zip(self.rows, drawn, strict=True):
            ids.append(id)
        return drawn

    @torch.inference_mode()
    def select_rows(self, numbers: list[int]) -> None:
        """Drop all rows except these, which are renumbered in this order."""
        self.cache.select_rows(numbers)
        self.rows = [self.rows[number] for number in numbers]
        self.newest = self.newest[numbers]
        self.uniforms.select_rows(numbers)
        self.seen = None if self.seen is None else self.seen[numbers]

"""Generate from many prompts at once, with a cache.

Beyond the model's context a window slides: whenever it is full, its newest half is read again.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from lmcore.generation.decode_step import OneToken
from lmcore.generation.sampling import PREDICTED, Sampling, uniform_numbers
from lmcore.generation.stop import until
from lmcore.model.gpt import GPT
from lmcore.model.kv_cache import KVCache
from lmcore.tokenizer.base import BaseTokenizer
from lmcore.training.runtime import keep_large_blocks

FEW_ROWS, MANY_TOKENS = 4, 16
"""Up to so many rows, and from so many new tokens, `by_columns` is soon repaid."""


@contextmanager
def evaluating(model: GPT) -> Iterator[None]:
    """Put model into evaluation mode for the time being."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


class Batch:
    """Texts that a model goes on with, each by one token at a time, their pasts in one cache."""

    @torch.inference_mode()
    def __init__(
        self,
        model: GPT,
        texts: list[list[int]],
        max_new_tokens: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ):
        device, self.context = model.head_weight.device, model.config.context_length
        is_float32_on_cpu = device.type == "cpu" and model.head_weight.dtype == torch.float32
        few = is_float32_on_cpu and len(texts) <= FEW_ROWS and max_new_tokens >= MANY_TOKENS
        self.one_token = OneToken(model, by_columns=few)
        self.model, self.texts, self.sampling, self.n_drawn = model, texts, sampling, 0
        # On a CPU a product of few rows with the transposed head is much faster.
        self.head = model.head_weight.t().contiguous()
        self.ids = torch.tensor([text[-1] for text in texts], device=device)
        self.uniforms = torch.stack([uniform_numbers(max_new_tokens, seed) for seed in seeds]).to(
            device
        )
        self.seen: Tensor | None = None
        if sampling.repetition_penalty != 1:
            self.seen = torch.zeros(len(texts), model.config.vocab_size, dtype=torch.bool)
            for row, text in zip(self.seen, texts, strict=True):
                row[text] = True
            self.seen = self.seen.to(device)
        capacity = min(self.context, max(len(text) for text in texts) + max_new_tokens)
        self.cache = KVCache(model.config, len(texts), capacity)
        self.read(list(range(len(texts))), self.context)

    def read(self, rows: list[int], n_tokens: int) -> None:
        """Let the model read the newest tokens of rows, all but the last, and forget the rest.

        Rows are read together, the shorter ones padded on the right.
        """
        windows = [self.texts[row][-n_tokens:-1] for row in rows]
        width = max(len(window) for window in windows)
        cache = KVCache(self.model.config, len(rows), width)
        if width:
            padded = [window + [0] * (width - len(window)) for window in windows]
            self.model.hidden(torch.tensor(padded, device=self.ids.device), cache=cache)
        cache.lengths = [len(window) for window in windows]
        self.cache.replace_rows(rows, cache)

    @torch.inference_mode()
    def step(self) -> list[int]:
        """Return a new token for each row, now part of its text.

        Raises:
            ValueError: the model predicts no probabilities.
        """
        full = [row for row, length in enumerate(self.cache.lengths) if length == self.context]
        if full:
            self.read(full, (self.context + 1) // 2)
        logits = self.one_token.hidden(self.ids, self.cache) @ self.head
        if self.n_drawn == 0 and not logits.isfinite().all():
            raise ValueError("the model's logits are not finite: its training diverged")
        drawn = self.sampling.draw(logits, self.uniforms[:, self.n_drawn], self.seen)
        self.ids, self.n_drawn = drawn, self.n_drawn + 1
        if self.seen is not None:
            self.seen.scatter_(1, drawn[:, None], True)
        new = drawn.tolist()
        for text, id in zip(self.texts, new, strict=True):
            text.append(id)
        return new

    @torch.inference_mode()
    def keep(self, rows: list[int]) -> None:
        """Drop all rows but these, which are numbered anew in this order."""
        self.cache.select_rows(rows)
        self.texts = [self.texts[row] for row in rows]
        self.ids, self.uniforms = self.ids[rows], self.uniforms[rows]
        self.seen = None if self.seen is None else self.seen[rows]


def require_some(model: GPT, ids: Sequence[int]) -> None:
    """Raise ValueError if there are no ids, or one is not in the model's vocabulary."""
    if not ids:
        raise ValueError("there must be at least one id to go on from, such as <eos>")
    model.require_known(torch.tensor(ids))


def stream(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling = PREDICTED,
    *,
    seed: int | Sequence[int] = 0,
    stop_ids: Collection[int] = (),
) -> Iterator[list[int | None]]:
    """Yield what `generate` returns as it comes: an id for each prompt, None once it has ended.

    The model is in evaluation mode until the stream ends or is closed.
    """
    seeds = [seed + row for row in range(len(prompts))] if isinstance(seed, int) else list(seed)
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens {max_new_tokens} is negative")
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds do not fit {len(prompts)} prompts: one for each")
    for prompt in prompts:
        require_some(model, prompt)
    return steps(
        model, [list(prompt) for prompt in prompts], max_new_tokens, sampling, seeds, stop_ids
    )


def steps(
    model: GPT,
    texts: list[list[int]],
    max_new_tokens: int,
    sampling: Sampling,
    seeds: Sequence[int],
    stop_ids: Collection[int],
) -> Iterator[list[int | None]]:
    """Yield the next id of each text up to max_new_tokens times; ended texts cost nothing."""
    keep_large_blocks()
    with evaluating(model):
        batch, rows = Batch(model, texts, max_new_tokens, sampling, seeds), list(range(len(texts)))
        for _ in range(max_new_tokens):
            new = batch.step()
            going = [place for place, id in enumerate(new) if id not in stop_ids]
            if not going:
                return
            if len(going) < len(rows):
                batch.keep(going)
                rows, new = [rows[place] for place in going], [new[place] for place in going]
            by_row = dict(zip(rows, new, strict=True))
            yield [by_row.get(row) for row in range(len(texts))]


def generate(
    model: GPT,
    prompts: Sequence[int] | Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling = PREDICTED,
    *,
    seed: int | Sequence[int] = 0,
    stop_ids: Collection[int] = (),
) -> list[int] | list[list[int]]:
    """Return up to max_new_tokens ids that follow a prompt, or a list of them for each of several.

    A prompt's ids depend on it and its seed alone and are the same in any batch, but for rounding;
    where one seed is given, prompt i has seed + i. One of stop_ids ends a text without being part
    of it. A model in bfloat16 computes in it.

    The model looks back on no more than its context: of a longer prompt the newest part counts,
    and whenever the context is full, its newest half is read anew as if nothing stood before it.

    Raises:
        ValueError: a prompt is empty or has an id out of range, max_new_tokens is negative, or
            there are not as many seeds as prompts.
    """
    is_one = not (len(prompts) and isinstance(prompts[0], Sequence))
    prompts = [prompts] if is_one else prompts
    out: list[list[int]] = [[] for _ in prompts]
    for ids in stream(model, prompts, max_new_tokens, sampling, seed=seed, stop_ids=stop_ids):
        for text, id in zip(out, ids, strict=True):
            if id is not None:
                text.append(id)
    return out[0] if is_one else out


def stream_text(
    model: GPT,
    tokenizer: BaseTokenizer,
    text: str,
    max_new_tokens: int,
    sampling: Sampling = PREDICTED,
    *,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the text of up to max_new_tokens tokens after text, each piece as soon as it is sure.

    No piece has half a character. The text ends before the first string of stop, such as a
    special token's, that is complete, wherever tokens begin and end.

    Raises:
        ValueError: the text has no tokens, or a stop is empty; see also `generate`.
    """
    if isinstance(stop, str) or not all(stop):
        raise ValueError(f"stop takes a list of strings that are not empty, not {stop!r}")
    rows = stream(model, [tokenizer.encode(text)], max_new_tokens, sampling, seed=seed)
    return until(tokenizer.decode_stream(id for [id] in rows), stop)

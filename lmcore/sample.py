"""Text from a model: how a next token is drawn, many rows at once, and what a text was worth.

Beyond the model's context a window slides: whenever it is full, its newest half is read anew.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmcore.data.batches import scoring_windows
from lmcore.evaluation.scores import token_nats
from lmcore.model.cache import Cache
from lmcore.model.gpt import GPT
from lmcore.one_token import OneToken
from lmcore.tokenizer.base import BaseTokenizer
from lmcore.training.runtime import keep_large_blocks


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn from logits; temperature 0 is greedy, the likeliest each time.

    In this order, which is that of transformers: logits of tokens seen before are lowered by the
    penalty (Keskar et al. 2019, 1909.05858) and all are divided by the temperature; then stay the
    top_k likeliest (Fan et al. 2018, 1805.04833), of these the fewest that have top_p of the
    probability (Holtzman et al. 2020, 1904.09751), and of these the ones at least min_p times as
    probable as the likeliest (Nguyen et al. 2024, 2407.01082).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self):
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be 0, which is greedy, or more: {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k {self.top_k} leaves no token: take 1 or more, or None")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is a share above 0 and up to 1, not {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p is a share from 0 to 1, not {self.min_p}")
        if not 0 < self.repetition_penalty < math.inf:
            raise ValueError(f"repetition_penalty must be above 0, not {self.repetition_penalty}")

    def penalised(
        self, logits: Float[Tensor, "rows vocab"], seen: Bool[Tensor, "rows vocab"] | None
    ) -> Float[Tensor, "rows vocab"]:
        """Return logits in float32, those of seen tokens lowered."""
        logits, penalty = logits.float(), self.repetition_penalty
        if seen is None or penalty == 1:
            return logits
        return torch.where(
            seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits
        )

    def weights(
        self, logits: Float[Tensor, "rows vocab"], seen: Bool[Tensor, "rows vocab"] | None = None
    ) -> Float[Tensor, "rows vocab"]:
        """Return numbers in proportion to the probabilities that tokens are drawn with."""
        logits = self.penalised(logits, seen)
        if self.temperature == 0:
            return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        if self.temperature != 1:  # from the top down, so that no quotient is infinite
            logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < least, -torch.inf)
        weights = logits.softmax(-1)
        if self.top_p < 1:
            weights = nucleus(weights, self.top_p)
        if self.min_p > 0:
            least = self.min_p * weights.amax(-1, keepdim=True)
            weights = weights.masked_fill(weights < least, 0)
        return weights

    def probabilities(
        self, logits: Float[Tensor, "rows vocab"], seen: Bool[Tensor, "rows vocab"] | None = None
    ) -> Float[Tensor, "rows vocab"]:
        """Return the probabilities that tokens are drawn with."""
        weights = self.weights(logits, seen)
        return weights / weights.sum(-1, keepdim=True)

    def draw(
        self,
        logits: Float[Tensor, "rows vocab"],
        uniforms: Float[Tensor, "rows"],
        seen: Bool[Tensor, "rows vocab"] | None = None,
    ) -> Int[Tensor, "rows"]:
        """Return for each row the id up to which the probabilities first exceed its uniform number.

        Sums are taken in float64: in float32 their rounding could give a token of probability 0.
        """
        if self.temperature == 0:
            return self.penalised(logits, seen).argmax(-1)
        reached = self.weights(logits, seen).cumsum(-1, dtype=torch.float64)
        aims = uniforms * reached[:, -1]
        return torch.searchsorted(reached, aims[:, None], right=True)[:, 0]


FEW_ROWS, MANY_TOKENS = 4, 16
"""Up to so many rows, and from so many new tokens, `by_columns` is soon repaid."""

PREDICTED = Sampling()
"""Tokens are drawn with the model's own probabilities."""


def nucleus(
    weights: Float[Tensor, "rows vocab"], top_p: float, in_order: bool = False
) -> Float[Tensor, "rows vocab"]:
    """Return weights with zeros but for the fewest that together have top_p of their row's sum.

    Putting all in_order is slow, so only rows are for which a 64th of the vocabulary, up to which
    torch's top-k is cheap on a CPU, does not suffice.
    """
    vocab_size = weights.shape[-1]
    aims = top_p * weights.sum(-1, keepdim=True, dtype=torch.float64)
    few = max(1, vocab_size // 64)
    best, ids = weights.sort(-1, descending=True) if in_order else weights.topk(few)
    reached = best.cumsum(-1, dtype=torch.float64)
    kept = torch.zeros_like(weights).scatter(-1, ids, best.masked_fill(reached - best >= aims, 0))
    if not in_order and (is_short := reached[:, -1] < aims[:, 0]).any():
        rows = is_short.nonzero()[:, 0]
        kept[rows] = nucleus(weights[rows], top_p, in_order=True)
    return kept


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
        n_new: int,
        sampling: Sampling,
        seeds: Sequence[int],
    ):
        device, self.context = model.head_weight.device, model.config.context_length
        is_float32_on_cpu = device.type == "cpu" and model.head_weight.dtype == torch.float32
        few = is_float32_on_cpu and len(texts) <= FEW_ROWS and n_new >= MANY_TOKENS
        self.one_token = OneToken(model, by_columns=few)
        self.model, self.texts, self.sampling, self.n_drawn = model, texts, sampling, 0
        # On a CPU a product of few rows with the transposed head is much faster.
        self.head = model.head_weight.t().contiguous()
        self.ids = torch.tensor([text[-1] for text in texts], device=device)
        self.uniforms = torch.stack([uniform_numbers(n_new, seed) for seed in seeds]).to(device)
        self.seen: Tensor | None = None
        if sampling.repetition_penalty != 1:
            self.seen = torch.zeros(len(texts), model.config.vocab_size, dtype=torch.bool)
            for row, text in zip(self.seen, texts, strict=True):
                row[text] = True
            self.seen = self.seen.to(device)
        capacity = min(self.context, max(len(text) for text in texts) + n_new)
        self.cache = Cache(model.config, len(texts), capacity)
        self.read(list(range(len(texts))), self.context)

    def read(self, rows: list[int], n_tokens: int) -> None:
        """Let the model read the newest tokens of rows, all but the last, and forget the rest.

        Rows are read together, the shorter ones padded on the right.
        """
        windows = [self.texts[row][-n_tokens:-1] for row in rows]
        width = max(len(window) for window in windows)
        cache = Cache(self.model.config, len(rows), width)
        if width:
            padded = [window + [0] * (width - len(window)) for window in windows]
            self.model.hidden(torch.tensor(padded, device=self.ids.device), cache=cache)
        cache.lengths = [len(window) for window in windows]
        self.cache.put(rows, cache)

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
        self.cache.keep(rows)
        self.texts = [self.texts[row] for row in rows]
        self.ids, self.uniforms = self.ids[rows], self.uniforms[rows]
        self.seen = None if self.seen is None else self.seen[rows]


def require_some(model: GPT, ids: Sequence[int]) -> None:
    """Raise ValueError if there are no ids, or one is not in the model's vocabulary."""
    if not ids:
        raise ValueError("there must be at least one id to go on from, such as <eos>")
    model.require_known(torch.tensor(ids))


def uniform_numbers(n: int, seed: int) -> Float[Tensor, "n"]:
    """Return n numbers from [0, 1), the first of as many as one likes from seed."""
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stream(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    n_new: int,
    sampling: Sampling = PREDICTED,
    *,
    seed: int | Sequence[int] = 0,
    stop_ids: Collection[int] = (),
) -> Iterator[list[int | None]]:
    """Yield what `generate` returns as it comes: an id for each prompt, None once it has ended.

    The model is in evaluation mode until the stream ends or is closed.
    """
    seeds = [seed + row for row in range(len(prompts))] if isinstance(seed, int) else list(seed)
    if n_new < 0:
        raise ValueError(f"n_new {n_new} is negative")
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds do not fit {len(prompts)} prompts: one for each")
    for prompt in prompts:
        require_some(model, prompt)
    return steps(model, [list(prompt) for prompt in prompts], n_new, sampling, seeds, stop_ids)


def steps(
    model: GPT,
    texts: list[list[int]],
    n_new: int,
    sampling: Sampling,
    seeds: Sequence[int],
    stop_ids: Collection[int],
) -> Iterator[list[int | None]]:
    """Yield up to n_new times the next id of each text, and compute only those that go on."""
    keep_large_blocks()
    with evaluating(model):
        batch, rows = Batch(model, texts, n_new, sampling, seeds), list(range(len(texts)))
        for _ in range(n_new):
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
    n_new: int,
    sampling: Sampling = PREDICTED,
    *,
    seed: int | Sequence[int] = 0,
    stop_ids: Collection[int] = (),
) -> list[int] | list[list[int]]:
    """Return up to n_new ids that follow a prompt, or a list of them for each of several.

    A prompt's ids depend on it and its seed alone and are the same in any batch, but for rounding;
    where one seed is given, prompt i has seed + i. One of stop_ids ends a text without being part
    of it. A model in bfloat16 computes in it.

    The model looks back on no more than its context: of a longer prompt the newest part counts,
    and whenever the context is full, its newest half is read anew as if nothing stood before it.

    Raises:
        ValueError: a prompt is empty or has an id out of range, n_new is negative, or the seeds
            are not as many as the prompts.
    """
    is_one = not (len(prompts) and isinstance(prompts[0], Sequence))
    prompts = [prompts] if is_one else prompts
    out: list[list[int]] = [[] for _ in prompts]
    for ids in stream(model, prompts, n_new, sampling, seed=seed, stop_ids=stop_ids):
        for text, id in zip(out, ids, strict=True):
            if id is not None:
                text.append(id)
    return out[0] if is_one else out


def write(
    model: GPT,
    tokenizer: BaseTokenizer,
    text: str,
    n_new: int,
    sampling: Sampling = PREDICTED,
    *,
    seed: int = 0,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """Yield the text of up to n_new tokens after text, in pieces, each as soon as it is sure.

    No piece has half a character. The text ends before the first string of stop, such as a
    special token's, that is complete, wherever tokens begin and end.

    Raises:
        ValueError: the text has no tokens, or a stop is empty; see also `generate`.
    """
    if isinstance(stop, str) or not all(stop):
        raise ValueError(f"stop takes a list of strings that are not empty, not {stop!r}")
    rows = stream(model, [tokenizer.encode(text)], n_new, sampling, seed=seed)
    return until(tokenizer.decode_stream(id for [id] in rows), stop)


def until(pieces: Iterable[str], stop: Sequence[str]) -> Iterator[str]:
    """Yield the text of pieces before the first string of stop to be complete, if there is one.

    What could be a stop's beginning is kept back until it is known.
    """
    text = ""
    for piece in pieces:
        text += piece
        found = [(at + len(end), at) for end in stop if (at := text.find(end)) >= 0]
        if found:
            text = text[: min(found)[1]]
            break
        begun = [n for end in stop for n in range(1, len(end)) if text.endswith(end[:n])]
        sure = len(text) - max(begun, default=0)
        if sure:
            yield text[:sure]
        text = text[sure:]
    if text:
        yield text


@torch.no_grad()
def next_probabilities(model: GPT, ids: list[int]) -> Float[Tensor, "vocab"]:
    """Return the probabilities of the token after ids, of which the last context's worth count."""
    require_some(model, ids)
    window = ids[-model.config.context_length :]
    with evaluating(model):
        logits = model(torch.tensor([window], device=model.head_weight.device))[0, -1]
    return logits.float().softmax(-1).cpu()


@torch.no_grad()
def likeliest(
    model: GPT, ids: Sequence[int], k: int, rows: int = 1024
) -> tuple[Int[Tensor, "seq k"], Float[Tensor, "seq k"]]:
    """Return the k likeliest tokens after each of ids, best first, and their probabilities.

    Texts beyond the context are read in windows that do not overlap. At most rows rows of logits
    are held.
    """
    require_some(model, ids)
    if not 1 <= k <= model.config.vocab_size:
        raise ValueError(f"k {k} is not from 1 to the vocabulary of {model.config.vocab_size}")
    text, found = torch.tensor(ids, device=model.head_weight.device), []
    with evaluating(model):
        for window in text.split(model.config.context_length):
            for part in model.hidden(window[None])[0].split(rows):
                found.append(F.linear(part, model.head_weight).float().softmax(-1).topk(k))
    tokens, probabilities = torch.cat([f.indices for f in found]), [f.values for f in found]
    return tokens.cpu(), torch.cat(probabilities).cpu()


def log_probabilities(
    model: GPT, ids: Sequence[int], start_id: int | None = None
) -> Float[Tensor, "scored"]:
    """Return ln p of each of ids after those before it: all but the first, or with start_id all.

    The first is scored as if it followed start_id. Texts beyond the context are read in windows
    that do not overlap, like the house metric.
    """
    text = [*ids] if start_id is None else [start_id, *ids]
    require_some(model, text)
    if len(text) == 1:
        return torch.empty(0, dtype=torch.float64)
    windows = scoring_windows(np.array(text[1:]), model.config.context_length, 16, text[0])
    return -token_nats(model, windows)[0]

"""Ids and text that a model generates after one prompt or many."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch

from lmcore.boundary import checked
from lmcore.generation.decoding_batch import DecodingBatch
from lmcore.generation.sampling import DEFAULT_SAMPLING, Sampling
from lmcore.generation.stop import StopStringFilter, text_before_stop
from lmcore.model.gpt import GPT
from lmcore.tokenizer.base import BaseTokenizer


@checked
def generate(
    model: GPT,
    prompts: Sequence[int] | Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling = DEFAULT_SAMPLING,
    *,
    seed: int | Sequence[int] = 0,
    stop_ids: Collection[int] = (),
    tokenizer: BaseTokenizer | None = None,
) -> list[int] | list[list[int]]:
    """Return up to max_new_tokens ids that follow a prompt, or a list of them for each prompt.

    The ids depend only on the prompt and its seed, not on the other prompts, apart from rounding.
    With a single seed, prompt i uses seed + i. An id of stop_ids ends a row and is left out. With a
    tokenizer, only ids that it has are drawn: a model may have more embedding rows. A model in
    bfloat16 computes in bfloat16.

    The model attends to at most its context length: only the newest part of a longer prompt counts,
    and when the context is full, its newest half is read again as if nothing came before it.

    Raises:
        ValueError: a prompt is empty or has an id out of range, max_new_tokens is negative, or the
            number of seeds is not the number of prompts.
    """
    is_single = not (len(prompts) and isinstance(prompts[0], Sequence))
    rows = cast(Sequence[Sequence[int]], [prompts] if is_single else prompts)
    generated: list[list[int]] = [[] for _ in rows]
    for ids in stream_ids(
        model, rows, max_new_tokens, sampling, seed=seed, stop_ids=stop_ids, tokenizer=tokenizer
    ):
        for row, id in zip(generated, ids, strict=True):
            if id is not None:
                row.append(id)
    return generated[0] if is_single else generated


@checked
def stream_ids(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling = DEFAULT_SAMPLING,
    *,
    seed: int | Sequence[int] = 0,
    stop_ids: Collection[int] = (),
    tokenizer: BaseTokenizer | None = None,
    has_ended: Callable[[int, int], bool] | None = None,
) -> Iterator[list[int | None]]:
    """Yield the ids of `generate` as they come: one for each prompt, None for those that ended.

    has_ended is called with a prompt's number and each new id that is not in stop_ids; if it
    returns True, that row ends and the id is left out. The model is in evaluation mode until the
    stream ends or is closed.
    """
    seeds = [seed + i for i in range(len(prompts))] if isinstance(seed, int) else list(seed)
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens {max_new_tokens} is negative")
    outside = [seed for seed in seeds if not -(2**63) <= seed < 2**64]
    if outside:
        raise ValueError(f"seed {outside[0]} does not fit into 64 bits")
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds do not fit {len(prompts)} prompts: one for each")
    for prompt in prompts:
        require_prompt(model, prompt)
    if not prompts:
        return iter(())
    rows = [list(prompt) for prompt in prompts]
    missing = ids_without_token(model, tokenizer)

    def ends(row: int, id: int) -> bool:
        return id in stop_ids or (has_ended is not None and has_ended(row, id))

    return _decode(model, rows, max_new_tokens, sampling, seeds, missing, ends)


def _decode(
    model: GPT,
    rows: list[list[int]],
    max_new_tokens: int,
    sampling: Sampling,
    seeds: Sequence[int],
    never_drawn: Collection[int],
    has_ended: Callable[[int, int], bool],
) -> Iterator[list[int | None]]:
    """Yield the next id of each row up to max_new_tokens times; ended rows cost nothing."""
    with evaluating(model):
        batch = DecodingBatch(model, rows, max_new_tokens, sampling, seeds, never_drawn)
        active = list(range(len(rows)))
        for _ in range(max_new_tokens):
            new = batch.step()
            going = [i for i, row in enumerate(active) if not has_ended(row, new[i])]
            if not going:
                return
            if len(going) < len(active):
                batch.select_rows(going)
                active, new = [active[i] for i in going], [new[i] for i in going]
            by_row = dict(zip(active, new, strict=True))
            yield [by_row.get(row) for row in range(len(rows))]


@checked
def stream_text(
    model: GPT,
    tokenizer: BaseTokenizer,
    prompt: str,
    max_new_tokens: int,
    sampling: Sampling = DEFAULT_SAMPLING,
    *,
    seed: int = 0,
    stop: Sequence[str] = (),
    stop_ids: Collection[int] = (),
) -> Iterator[str]:
    """Yield the text of up to max_new_tokens tokens after prompt, each piece once it is certain.

    No piece ends within a character. The text ends before the first complete string of stop, such
    as a special token's, wherever tokens begin and end.

    Raises:
        ValueError: the prompt has no tokens, or a stop string is empty; see also `generate`.
    """
    StopStringFilter(stop)  # complains now, not when the first piece is asked for
    rows = stream_ids(
        model,
        [tokenizer.encode(prompt)],
        max_new_tokens,
        sampling,
        seed=seed,
        stop_ids=stop_ids,
        tokenizer=tokenizer,
    )
    ids = (id for [id] in rows if id is not None)
    return text_before_stop(tokenizer.decode_stream(ids), stop)


@contextmanager
def evaluating(model: GPT) -> Iterator[None]:
    """Put model into evaluation mode while the block runs."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def require_prompt(model: GPT, ids: Sequence[int]) -> None:
    """Raise ValueError if there are no ids, or one is not in the model's vocabulary."""
    if not ids:
        raise ValueError("a prompt needs at least one id, such as <eos>")
    model.require_known(torch.tensor(ids))


def ids_without_token(model: GPT, tokenizer: BaseTokenizer | None) -> list[int]:
    """Return the ids of model that tokenizer has no token for; none without a tokenizer."""
    if tokenizer is None:
        return []
    return [id for id in range(model.config.vocab_size) if id not in tokenizer.vocab]

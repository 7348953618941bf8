"""Logits of any module that maps ids to logits; of our GPT only those that are needed."""

import itertools
from collections.abc import Iterator
from typing import TypeGuard

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmcore.model.gpt import GPT

IGNORE_INDEX = -100
"""A target that is not learned or scored, as in torch's cross_entropy."""


def device_of(model: nn.Module) -> torch.device:
    """Return the device of model's parameters, or of its buffers; the CPU if it has neither."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def in_float64(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return x in float64: on its device, or on the CPU where the device is MPS and has none."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def has_gpt_head(model: nn.Module) -> TypeGuard[GPT]:
    """Return whether model is a GPT whose logits are `hidden` times `head_weight`.

    A subclass with a forward of its own is not.
    """
    return isinstance(model, GPT) and type(model).forward is GPT.forward


def logits_of(
    model: nn.Module,
    ids: Int[Tensor, "batch seq"],
    documents: Int[Tensor, "batch seq"] | None = None,
    last: int | None = None,
) -> Float[Tensor, "rows vocab"]:
    """Return model's logits, a row for each position, or for the last ones of each sequence.

    With documents the model is called as model(ids, documents).

    Raises:
        ValueError: the model returns something else than logits of shape (batch, seq, vocab).
    """
    if has_gpt_head(model):
        return model(ids, documents, last=last).flatten(0, 1)
    logits = model(ids) if documents is None else model(ids, documents)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"{type(model).__name__} returns a {type(logits).__name__}, not logits: wrap it in a "
            "module that returns the logits alone"
        )
    if logits.ndim != 3 or logits.shape[:2] != ids.shape:
        raise ValueError(
            f"{type(model).__name__} returns shape {tuple(logits.shape)} for ids of shape "
            f"{tuple(ids.shape)}: logits need the shape (batch, seq, vocab)"
        )
    return logits[:, -(last or 0) :].flatten(0, 1)


def logit_parts(
    model: nn.Module,
    ids: Int[Tensor, "batch seq"],
    documents: Int[Tensor, "batch seq"] | None,
    rows: int,
) -> Iterator[Float[Tensor, "rows vocab"]]:
    """Yield model's logits for all positions, at most rows at a time; a GPT never holds more."""
    if has_gpt_head(model):
        weight = model.head_weight
        for part in model.hidden(ids, documents).flatten(0, 1).split(rows):
            yield F.linear(part, weight)
    else:
        yield from logits_of(model, ids, documents).split(rows)

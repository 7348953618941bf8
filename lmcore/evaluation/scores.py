"""Scores of a model on fixed tokens, each of them scored exactly once."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmcore.data.batches import documents_at, scoring_windows
from lmcore.data.token_files import Tokens
from lmcore.model.gpt import GPT


@dataclass(frozen=True, kw_only=True)
class Score:
    """Sums over scored tokens, from which every rate follows.

    Of all the text's tokens `n_tokens` were scored, so coverage is 1.0 for the house metric and
    less for the challenge's.
    """

    nats: float
    n_tokens: int
    of_tokens: int
    characters: int
    bytes: int
    n_correct: int
    n_end_predicted: int
    n_end: int

    @property
    def loss(self) -> float:
        """Nats per token; not to be compared between tokenizers."""
        return self.nats / self.n_tokens

    @property
    def perplexity(self) -> float:
        """The number of equally probable tokens among which a choice is as uncertain."""
        return math.exp(self.loss)

    @property
    def nats_per_character(self) -> float:
        """Nats over the characters of the whole text, <eos> counted as its five."""
        return self.nats / self.characters

    @property
    def bpb(self) -> float:
        """Bits over the UTF-8 bytes of the whole text."""
        return self.nats / math.log(2) / self.bytes

    @property
    def coverage(self) -> float:
        """The share of the text's tokens that were scored."""
        return self.n_tokens / self.of_tokens

    @property
    def accuracy(self) -> float:
        """The share of scored tokens that were thought likeliest."""
        return self.n_correct / self.n_tokens

    def __str__(self) -> str:
        return f"{self.nats_per_character:.3f} nats/character"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Sums over questions of which each has one answer; logit_rms is the size of their logits."""

    nats: float
    n: int
    n_correct: int
    logit_rms: float

    @property
    def loss(self) -> float:
        """Nats per answer."""
        return self.nats / self.n

    @property
    def accuracy(self) -> float:
        """The share of answers that were thought likeliest."""
        return self.n_correct / self.n

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} right"


@torch.no_grad()
def answer_score(
    model: GPT, x: Int[Tensor, "n seq"], y: Int[Tensor, "n targets"], rows: int = 2048
) -> Answers:
    """Return the score of the answers y, which stand at the last positions of x.

    The size of logits is their root mean square once each row's mean is taken away.
    """
    was_training = model.training
    model.eval()
    device = model.head_weight.device
    nats, squares, n_correct = 0.0, 0.0, 0
    for asked, answers in zip(x.split(rows), y.split(rows), strict=True):
        logits = model(asked.to(device), last=answers.shape[1]).flatten(0, 1).double()
        targets = answers.flatten().to(device)
        nats += F.cross_entropy(logits, targets, reduction="sum").item()
        n_correct += int((logits.argmax(-1) == targets).sum())
        squares += logits.var(-1, correction=0).sum().item()
    model.train(was_training)
    n = y.numel()
    size = round(math.sqrt(squares / n), 4)
    return Answers(nats=round(nats, 4), n=n, n_correct=n_correct, logit_rms=size)


Window = Sequence[Tensor]
"""(x, y), and where attention is to stay within documents, the number of each token's."""


def token_nats(
    model: GPT, windows: Iterable[Window], rows: int = 1024
) -> tuple[Float[Tensor, "tokens"], Int[Tensor, "tokens"]]:
    """Return each target's cross-entropy in nats and the id thought most likely in its place.

    The model is set to evaluation for the time being; at most rows rows of logits are held.
    """
    was_training = model.training
    model.eval()
    weight = model.head_weight
    windows = list(windows)
    targets = torch.cat([y.flatten() for _, y, *_ in windows]).to(weight.device)
    # Filled in place: results kept from between the large blocks would split the allocator's heap.
    nats = torch.empty(len(targets), device=weight.device)
    best = torch.empty_like(targets)
    done = 0
    with torch.no_grad():
        for x, _, *documents in windows:
            asked = [each.to(weight.device) for each in (x, *documents)]
            for part in model.hidden(*asked).flatten(0, 1).split(rows):
                here = slice(done, done + len(part))
                logits = F.linear(part, weight).float()
                nats[here] = F.cross_entropy(logits, targets[here], reduction="none")
                best[here] = logits.argmax(-1)
                done += len(part)
    model.train(was_training)
    return nats.double().cpu(), best.cpu()


def windows_within(
    windows: Iterable[Window], tokens: Tokens, places: Int[np.ndarray, "*shape"]
) -> list[Window]:
    """Return windows with the documents of their targets, which stand at places in tokens."""
    windows = list(windows)
    sizes = [y.numel() for _, y in windows]
    documents = documents_at(tokens, places).flatten().split(sizes)
    return [(x, y, own.view_as(y)) for (x, y), own in zip(windows, documents, strict=True)]


def token_scores(
    model: GPT, tokens: Tokens, eos_id: int, within_documents: bool = False
) -> tuple[Float[Tensor, "tokens"], Int[Tensor, "tokens"]]:
    """Return for each of tokens what `token_nats` does, the first read as if it followed an <eos>.

    Raises:
        ValueError: there is no token to score.
    """
    if not len(tokens.ids):
        raise ValueError("there are no tokens to score")
    windows = scoring_windows(tokens.ids, model.config.context_length, 64, eos_id)
    if within_documents:
        windows = windows_within(windows, tokens, np.arange(len(tokens.ids)))
    return token_nats(model, windows)


def score(model: GPT, tokens: Tokens, eos_id: int, within_documents: bool = False) -> Score:
    """Return the house score: every token once, the first one as if it followed an <eos>.

    Raises:
        ValueError: there is no token to score.
    """
    found = token_scores(model, tokens, eos_id, within_documents)
    return _summed(*found, tokens.ids, tokens, eos_id)


def challenge_score(
    model: GPT, tokens: Tokens, eos_id: int, batch_size: int, within_documents: bool = False
) -> Score:
    """Return the score that the headlines challenge's own evaluator computes.

    It walks the text in spans of batch_size x context + 1 tokens, scores all but the first of
    each, drops what does not fill the last span, and still divides by all characters.

    Raises:
        ValueError: the text does not fill one span.
    """
    context = model.config.context_length
    span = batch_size * context + 1
    n_spans = len(tokens.ids) // span
    if not n_spans:
        raise ValueError(f"{len(tokens.ids)} tokens do not fill one span of {span}")
    spans = torch.from_numpy(tokens.ids[: n_spans * span].astype(np.int64)).view(n_spans, span)
    windows = [(s[:-1].view(-1, context), s[1:].view(-1, context)) for s in spans]
    if within_documents:
        places = np.arange(n_spans * span).reshape(n_spans, span)[:, 1:]
        windows = windows_within(windows, tokens, places)
    return _summed(*token_nats(model, windows), spans[:, 1:].numpy(), tokens, eos_id)


def _summed(nats: Tensor, best: Tensor, targets: np.ndarray, tokens: Tokens, eos_id: int) -> Score:
    targets = torch.from_numpy(targets.astype(np.int64)).flatten()
    return Score(
        nats=nats.sum().item(),
        n_tokens=len(targets),
        of_tokens=tokens.info.n_tokens,
        characters=tokens.info.characters,
        bytes=tokens.info.bytes,
        n_correct=int((best == targets).sum()),
        n_end_predicted=int((best == eos_id).sum()),
        n_end=int((targets == eos_id).sum()),
    )

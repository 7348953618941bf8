"""A model with its tokenizer: text in, text out."""

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from lmcore.boundary import checked, convert_fields
from lmcore.evaluation.score_types import Score
from lmcore.evaluation.sliding_window import score_documents, score_text
from lmcore.generation.generate import stream_ids
from lmcore.generation.sampling import Sampling
from lmcore.generation.stop import StopStringFilter, text_before_stop
from lmcore.model.gpt import GPT
from lmcore.model.interop.checkpoint import EOS_TOKENS
from lmcore.tokenizer.base import BaseTokenizer
from lmcore.tokenizer.byte_bpe import Tokenizer

Prompts = TypeVar("Prompts", str, list[str])


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A model and the tokenizer of its ids; `load` returns one.

    Example:
        lm = lmcore.load("my-model"); print(lm.generate("Once upon a time", temperature=0.8))

    Raises:
        ValueError: the tokenizer or eos_ids have ids that the model does not have.
    """

    model: GPT
    """The model; `lm.model.to("cuda")` moves it."""

    tokenizer: BaseTokenizer
    """The tokenizer that made the ids it was trained on."""

    eos_ids: tuple[int, ...] | None = None
    """Ids that end a text. None becomes the id of <|endoftext|> or <eos>, if there is one."""

    def __post_init__(self):
        convert_fields(self)
        vocab_size = self.model.config.vocab_size
        if self.tokenizer.vocab_size > vocab_size:
            raise ValueError(
                f"the tokenizer has {self.tokenizer.vocab_size} ids and the model {vocab_size}: "
                "was it trained with another tokenizer?"
            )
        if self.eos_ids is None:
            specials = self.tokenizer.special_tokens
            ids = tuple(specials[token] for token in EOS_TOKENS if token in specials)
            object.__setattr__(self, "eos_ids", ids[:1])
        self.model.require_known(torch.tensor(self.eos_ids or (0,)))

    @property
    def eos_tokens(self) -> list[str]:
        """The special tokens that end a text."""
        names = {id: token for token, id in self.tokenizer.special_tokens.items()}
        return [names[id] for id in self.eos_ids or () if id in names]

    @property
    def eos_id(self) -> int | None:
        """The id that ends a text, the first of several; None if there is none."""
        return self.eos_ids[0] if self.eos_ids else None

    @checked
    def generate(
        self,
        prompts: Prompts,
        max_new_tokens: int = 256,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int | None = None,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> Prompts:
        """Return the text that follows a prompt, or a list of texts for a list of prompts.

        A text ends before an end token, before the first complete string of stop, or after
        max_new_tokens tokens. Prompt i uses seed + i. An empty prompt begins a new text. `Sampling`
        explains the other options.

        Raises:
            ValueError: an option is out of its range, or a prompt is empty and there is no end
                token to begin after.
        """
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
        )
        texts = [prompts] if isinstance(prompts, str) else prompts
        rows = [_GeneratedText(self.tokenizer, stop) for _ in texts]
        steps = stream_ids(
            self.model,
            [self.prompt_ids(text) for text in texts],
            max_new_tokens,
            sampling,
            seed=seed,
            stop_ids=self.eos_ids or (),
            tokenizer=self.tokenizer,
            has_ended=lambda row, id: rows[row].append(id),
        )
        for _ in steps:
            pass
        generated = [row.finish() for row in rows]
        if isinstance(prompts, str):
            return generated[0]
        return generated

    @checked
    def stream(
        self,
        prompt: str,
        max_new_tokens: int = 256,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int | None = None,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> Iterator[str]:
        """Yield the text of `generate` in pieces, each once it is certain.

        The model is in evaluation mode until the stream ends or is closed.
        """
        StopStringFilter(stop)  # complains now, not when the first piece is asked for
        sampling = Sampling(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
        )
        steps = stream_ids(
            self.model,
            [self.prompt_ids(prompt)],
            max_new_tokens,
            sampling,
            seed=seed,
            stop_ids=self.eos_ids or (),
            tokenizer=self.tokenizer,
        )
        ids = (id for [id] in steps if id is not None)
        return text_before_stop(self.tokenizer.decode_stream(ids), stop)

    @checked
    def score(self, text: str | Sequence[str], stride: int | None = None) -> Score:
        """Return the score of text: nats per token and character, bits per byte, perplexity.

        Every token is scored once, the first as if it followed an end token. Special tokens in a
        text count as such; a list is one of documents, see `score_documents`. With a stride,
        windows overlap; see `sliding_token_nats`.

        Raises:
            ValueError: the text is empty, or stride is not from 1 to the model's context length.
        """
        if isinstance(text, str):
            return score_text(self.model, self.tokenizer, text, stride, self.eos_id)[0]
        return score_documents(self.model, self.tokenizer, text, stride, self.eos_id)[0]

    @checked
    def prompt_ids(self, prompt: str) -> list[int]:
        """Return the ids that the model continues, with what the tokenizer puts around a text.

        Raises:
            ValueError: there are none.
        """
        ids = self.tokenizer.encode(prompt)
        if isinstance(self.tokenizer, Tokenizer):
            ids = self.tokenizer.add_special_tokens(ids)
        if not ids and self.eos_id is not None:
            ids = [self.eos_id]
        if not ids:
            raise ValueError("the prompt is empty, and there is no end token to begin a text after")
        return ids


class _GeneratedText:
    """The text of ids as they come, up to the first stop string."""

    def __init__(self, tokenizer: BaseTokenizer, stop: Sequence[str]):
        self.tokenizer, self.stops, self.pieces = tokenizer, StopStringFilter(stop), []
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def append(self, id: int) -> bool:
        """Add the text of id; return whether a stop string is now complete."""
        text = self.decoder.decode(self.tokenizer.decode_bytes([id]))
        self.pieces.append(self.stops.feed(text))
        return self.stops.has_stopped

    def finish(self) -> str:
        """Return the whole text, now that no id follows."""
        rest = self.stops.feed(self.decoder.decode(b"", final=True))
        return "".join([*self.pieces, rest, self.stops.finish()])

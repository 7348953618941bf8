"""A language model as one small file for the page that runs it (docs/widgets/gpt.mjs).

The file is a safetensors file: matrices in int8 with a scale for each row, vectors in float32, the
tokenizer's merges and ids, and the config as JSON in the metadata.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int8
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lmcore.config import from_dict
from lmcore.generation.language_model import LanguageModel
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.tokenizer.bpe import ALPHABET
from lmcore.tokenizer.byte_bpe import Tokenizer
from lmcore.tokenizer.pretokens import GPT2_PATTERN

LARGEST = 127
"""The largest int8 value used, so that zero is in the middle."""
PLAIN = {
    "norm_at": "pre",
    "qk_norm": False,
    "parallel_residual": False,
    "layer_scale": None,
    "head_scale": None,
    "rope_scaling": None,
}
"""The options of a model that the page can run, where it cannot run all of them."""


def to_int8(
    weight: Float[Tensor, "rows columns"],
) -> tuple[Int8[Tensor, "rows columns"], Float[Tensor, "rows"]]:
    """Return weight in int8 and the scale of each row; a row of zeros has scale 0."""
    scale = weight.float().abs().amax(1) / LARGEST
    rounded = weight.float() / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    return rounded.round().to(torch.int8), scale


def rounded_to_int8(model: GPT) -> GPT:
    """Return a copy of model with the weights that the page computes with."""
    out = copy.deepcopy(model).float().eval()
    with torch.no_grad():
        for weight in out.parameters():
            if weight.ndim == 2:
                values, scale = to_int8(weight)
                weight.copy_(values * scale[:, None])
    return out


def web_export(lm: LanguageModel, about: Mapping[str, Any]) -> bytes:
    """Return the file of a model; about is shown with it, such as its run and seed.

    Raises:
        ValueError: the page cannot run such a model or tokenizer; the message says which option.
    """
    require_plain(lm.model.config)
    tensors = tokenizer_tensors(lm.tokenizer)
    for name, weight in lm.model.state_dict().items():
        if weight.ndim == 2:
            tensors[name], tensors[f"{name}.scale"] = to_int8(weight.cpu())
        else:
            tensors[name] = weight.float().cpu()
    config = asdict(lm.model.config)
    sizes = {name: getattr(lm.model.config, name) for name in ("d_head", "n_kv", "d_hidden")}
    text = {"config": config | sizes, "eos_id": lm.eos_id, "about": dict(about)}
    return save(tensors, {"lmcore": json.dumps(text, sort_keys=True)})


def require_plain(config: ModelConfig) -> None:
    """Raise ValueError if config has an option that the page does not know."""
    for name, value in PLAIN.items():
        if getattr(config, name) != value:
            raise ValueError(
                f"the page runs models with {name} {value!r} only, not {getattr(config, name)!r}"
            )


def tokenizer_tensors(tokenizer: Any) -> dict[str, Tensor]:
    """Return a byte-level BPE as numbers.

    Tokens are numbered as in `Encoder`: the 256 bytes, then what each merge makes. `merges` has the
    two numbers that each merge joins, and `ids` the model's id of each number.

    Raises:
        ValueError: it is another kind of tokenizer, or two merges make the same token.
    """
    if not isinstance(tokenizer, Tokenizer) or tokenizer.ignore_merges:
        raise ValueError(f"the page knows byte-level BPE only, not {type(tokenizer).__name__}")
    if tokenizer.pattern != GPT2_PATTERN:
        raise ValueError(f"the page knows GPT-2's pre-tokens only, not {tokenizer.pattern!r}")
    tokens = [*ALPHABET, *(left + right for left, right in tokenizer.merges)]
    number = {token: i for i, token in enumerate(tokens)}
    if len(number) != len(tokens):
        raise ValueError("two merges make the same token, which the page does not know")
    merges = [[number[left], number[right]] for left, right in tokenizer.merges]
    id_of = {token: id for id, token in reversed(tokenizer.vocab.items())}
    return {
        "tokenizer.merges": torch.tensor(merges, dtype=torch.int32).reshape(-1, 2),
        "tokenizer.ids": torch.tensor([id_of[token] for token in tokens], dtype=torch.int32),
    }


def read_web_export(path: Path) -> tuple[LanguageModel, dict[str, Any]]:
    """Return the model that a page computes with, and what its file says about it."""
    with safe_open(path, "pt") as file:
        text = json.loads(file.metadata()["lmcore"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    known = {field.name for field in fields(ModelConfig)}
    config = {name: value for name, value in text["config"].items() if name in known}
    model = GPT(from_dict(ModelConfig, config)).eval()
    weights = {}
    for name in model.state_dict():
        scale = tensors.get(f"{name}.scale")
        weights[name] = tensors[name] if scale is None else tensors[name] * scale[:, None]
    model.load_state_dict(weights)
    return LanguageModel(model, _tokenizer_of(tensors, text["eos_id"])), text["about"]


def _tokenizer_of(tensors: Mapping[str, Tensor], eos_id: int) -> Tokenizer:
    """Return the tokenizer of `tokenizer_tensors`; its only special token is <eos>."""
    tokens, merges = list(ALPHABET), []
    for left, right in tensors["tokenizer.merges"].tolist():
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    vocab = dict(zip(tensors["tokenizer.ids"].tolist(), tokens, strict=True))
    return Tokenizer(vocab | {eos_id: b"<eos>"}, merges, ["<eos>"])

"""A trained model as a folder that can be moved, sent and opened.

It holds config.json, model.safetensors and tokenizer.json, as transformers writes them. Where the
model is a GPT-2 or a Llama in shape, transformers opens the folder too; where it is not, our own
names are used for the weights, and config.json says why. Loading runs no code from the folder.
"""

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor

from lmcore.boundary import checked
from lmcore.config import from_dict
from lmcore.files import naming, read_json, require_folder, sha256_of, whole_file, write_json
from lmcore.generation.language_model import LanguageModel
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.model.interop.checkpoint import (
    family_for,
    load_pretrained,
    require_equal_shapes,
    require_weights_for,
    save_pretrained,
    save_tokenizer,
    weight_files,
)
from lmcore.tokenizer.base import BaseTokenizer
from lmcore.tokenizer.saved_tokenizer import load_tokenizer

FORMAT = 1
"""Version of the folder; it goes up when an older version of this module could not read it."""


@checked
def save(
    folder: str | Path,
    model: GPT,
    tokenizer: BaseTokenizer,
    *,
    eos_token: str | Sequence[str] | None = None,
) -> None:
    """Write model and tokenizer to folder; files of a model saved there before are replaced.

    Until all files are written, the folder holds what it held before. Weights keep their dtype.
    eos_token is the special token that ends a text, by default <|endoftext|> or <eos>; of several,
    the first also begins one.

    Example:
        lmcore.save("my-model", model, tokenizer); lm = lmcore.load("my-model")

    Raises:
        ValueError: the tokenizer makes ids that the model does not have, eos_token is none of its
            special tokens, or the model has other weights than its config describes.
    """
    folder = Path(folder)
    eos_tokens = [eos_token] if isinstance(eos_token, str) else list(eos_token or ())
    eos_ids = tuple(tokenizer.special_id(token) for token in eos_tokens)
    lm = LanguageModel(model, tokenizer, eos_ids or None)
    require_weights_of_config(model)
    reason = why_not_transformers(model)
    with _replacing(folder) as staging:
        if reason is None:
            save_pretrained(model, staging, tokenizer)
            fields = read_json(staging / "config.json")
        else:
            fields = _save_in_our_layout(model, staging, tokenizer)
        if eos_tokens:
            _declare_eos(staging / "tokenizer_config.json", eos_tokens[0])
        ours = {
            "format": FORMAT,
            "model": dataclasses.asdict(model.config),
            "eos_ids": list(lm.eos_ids or ()),
            "tokenizer": tokenizer.fingerprint,
            "why_not_transformers": reason,
            "weights": {path.name: sha256_of(path) for path in weight_files(staging)},
        }
        ours["checksum"] = _checksum(ours)
        several = list(eos_ids) if len(eos_ids) > 1 else lm.eos_id
        eos = {"bos_token_id": lm.eos_id, "eos_token_id": several}
        write_json(staging / "config.json", fields | eos | {"lmcore": ours})


@checked
def load(folder: str | Path) -> LanguageModel:
    """Return the model and tokenizer in folder, in evaluation mode, on the CPU.

    The folder is one that `save` wrote, a finished run of `lmcore train`, or that of a GPT-2 or
    Llama from transformers or its hub; the latter's weights become float32.

    Raises:
        ValueError: the folder is not there or of another kind, or a file is missing or damaged; the
            message names it.
    """
    folder = _model_folder(Path(folder))
    fields = _read_config(folder)
    ours = fields.get("lmcore")
    tokenizer = load_tokenizer(folder)
    if ours is None:
        return LanguageModel(load_pretrained(folder), tokenizer, _eos_ids(fields, folder))
    if tokenizer.fingerprint != ours["tokenizer"]:
        raise ValueError(
            f"{folder / 'tokenizer.json'} is not the tokenizer that the model was saved with: "
            f"it is {tokenizer.fingerprint}, not {ours['tokenizer']}"
        )
    config = ours["model"]
    if ours["why_not_transformers"] is None:
        model = _from_their_layout(folder, config, fields["dtype"])
    else:
        model = _from_our_layout(folder, config)
    for name, digest in ours["weights"].items():
        if sha256_of(folder / name) != digest:
            raise ValueError(
                f"{folder / name} is damaged or of another model: its checksum is not that in "
                "config.json"
            )
    return LanguageModel(model, tokenizer, ours["eos_ids"])


def why_not_transformers(model: GPT) -> str | None:
    """Return why transformers cannot open this model, or None if it can."""
    try:
        family_for(model.config)
    except ValueError as error:
        return str(error)
    dtypes = sorted({str(weight.dtype) for weight in model.state_dict().values()})
    return f"the weights have several dtypes: {', '.join(dtypes)}" if len(dtypes) > 1 else None


def require_weights_of_config(model: GPT) -> None:
    """Raise ValueError if a GPT of model's config would have other weights than model."""
    with torch.device("meta"):
        expected = GPT(model.config).state_dict()
    weights = model.state_dict()
    wrong = [f"{name} is missing" for name in expected if name not in weights]
    wrong += [f"{name} is not part of a GPT" for name in weights if name not in expected]
    wrong += [
        f"{name} has shape {tuple(weights[name].shape)}, not {tuple(like.shape)}"
        for name, like in expected.items()
        if name in weights and weights[name].shape != like.shape
    ]
    if wrong:
        raise ValueError(
            f"the model is not what its config describes, so it could not be loaded again: "
            f"{'; '.join(wrong[:4])}"
        )


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Give an empty folder; its files move into folder when the block ends without an error."""
    require_folder(folder, "to save to")
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as staging:
            yield Path(staging)
            # Without config.json nothing opens the folder: old and new files never mix unnoticed.
            (folder / "config.json").unlink(missing_ok=True)
            for file in sorted(Path(staging).iterdir(), key=lambda f: f.name == "config.json"):
                os.replace(file, folder / file.name)


def _save_in_our_layout(model: GPT, folder: Path, tokenizer: BaseTokenizer) -> dict[str, Any]:
    """Write weights and tokenizer to folder; return the fields of its config.json."""
    save_tokenizer(tokenizer, folder, model.config)
    weights = {name: weight.cpu().contiguous() for name, weight in model.state_dict().items()}
    with whole_file(folder / "model.safetensors") as path:
        path.write_bytes(to_safetensors(weights, {"format": "pt"}))
    return {
        "model_type": "lmcore",
        "architectures": ["GPT"],
        "vocab_size": model.config.vocab_size,
        "dtype": str(model.head_weight.dtype).removeprefix("torch."),
    }


def _declare_eos(path: Path, eos_token: str) -> None:
    write_json(path, read_json(path) | {"bos_token": eos_token, "eos_token": eos_token})


def _model_folder(folder: Path) -> Path:
    """Return the folder of the model in a run's folder, or folder itself if it is not a run's.

    Raises:
        ValueError: the run is not finished.
    """
    if (folder / "model" / "config.json").exists():
        return folder / "model"
    if (folder / "metrics.jsonl").exists() and not (folder / "model.safetensors").exists():
        raise ValueError(f"{folder} is a run without a model yet: resume it with lmcore train")
    return folder


def _read_config(folder: Path) -> dict[str, Any]:
    """Return the fields of folder's config.json, what `save` put there as config and ids.

    Raises:
        ValueError: folder is not that of a saved model, or config.json is damaged.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "is not there"
        raise ValueError(f"{folder} {what}: name the folder of a saved model")
    if not path.exists():
        is_text = (folder / "prepared.json").exists()
        what = (
            "train one with lmcore train" if is_text else "it holds no model that was saved whole"
        )
        raise ValueError(f"{folder} has no config.json: {what}")
    fields = read_json(path)
    if not isinstance(fields, dict) or not {"lmcore", "model_type"} & set(fields):
        raise ValueError(f"{folder} is not a saved model: its config.json describes something else")
    ours = fields.get("lmcore")
    if ours is None:
        return fields
    try:
        if ours["format"] != FORMAT:
            raise ValueError(f"its format is {ours['format']!r}, and this version reads {FORMAT}")
        if ours.get("checksum", _checksum(ours)) != _checksum(ours):
            raise ValueError("its checksum differs")
        dtype = getattr(torch, fields["dtype"])
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"dtype {fields['dtype']!r} is no dtype of torch")
        parsed = {
            "model": from_dict(ModelConfig, ours["model"]),
            "eos_ids": tuple(int(id) for id in ours["eos_ids"]),
            "tokenizer": ours["tokenizer"],
            "why_not_transformers": ours["why_not_transformers"],
            "weights": dict(ours.get("weights", {})),  # folders of earlier versions have none
        }
        return fields | {"lmcore": parsed, "dtype": dtype}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def _checksum(ours: dict[str, Any]) -> str:
    """Return a hash of what `save` puts into config.json for `load`."""
    stored = {name: value for name, value in ours.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def _eos_ids(fields: dict[str, Any], folder: Path) -> tuple[int, ...] | None:
    """Return the ids that a config.json of transformers says end a text."""
    ids = fields.get("eos_token_id")
    if ids is None:
        return None
    ids = ids if isinstance(ids, list) else [ids]
    if not all(type(id) is int for id in ids):
        raise ValueError(f"{folder / 'config.json'}: eos_token_id {ids} is not a whole number")
    return tuple(ids)


def _from_their_layout(folder: Path, config: ModelConfig, dtype: torch.dtype) -> GPT:
    """Return the model of a folder that transformers opens too, with our config."""
    theirs = load_pretrained(folder).state_dict()
    require_weights_for(folder, config)
    with torch.device("meta"):
        model = GPT(config)
    names = model.state_dict()  # GPT-2 there has biases, zeros, where ours may have none
    _assign(folder, model, {name: theirs[name].to(dtype) for name in names if name in theirs})
    return model.eval()


def _from_our_layout(folder: Path, config: ModelConfig) -> GPT:
    [path] = weight_files(folder)
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is missing or damaged ({error})") from None
    require_weights_for(folder, config)
    with torch.device("meta"):
        model = GPT(config)
    # Copies, so that the file may be replaced while the model is in use.
    _assign(folder, model, {name: weight.clone() for name, weight in weights.items()})
    return model.eval()


def _assign(folder: Path, model: GPT, weights: dict[str, Tensor]) -> None:
    require_equal_shapes(folder, weights, model.state_dict())
    model.load_state_dict(weights, assign=True)

"""The folders themselves: config.json, safetensors and the tokenizer's files."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lmcore.boundary import checked
from lmcore.files import read_json, whole_file, write_json
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.model.interop import gpt2, llama
from lmcore.model.interop.family import Family, choice
from lmcore.model.rope import adjacent_to_half_split, half_split_to_adjacent
from lmcore.tokenizer.base import BaseTokenizer

FAMILIES = {"gpt2": gpt2.FAMILY, "llama": llama.FAMILY}
"""The families by the model_type that config.json names."""

BUFFERS = re.compile(r"\.attn\.(masked_)?bias$|rotary_emb\.inv_freq$")
"""Tensors in older checkpoints that are no weights: masks and frequencies."""

EOS_TOKENS = ("<|endoftext|>", "<eos>")
"""Special tokens that end a text; the first one that a tokenizer has is declared as eos_token."""


@checked
def load_pretrained(folder: str | Path) -> GPT:
    """Return the GPT-2 or Llama in a folder written by transformers, in evaluation mode.

    Weights become float32 whatever they are stored in. GPT-2's dropout is adopted if its three
    rates are equal; Llama's, which is for attention only, becomes 0. A Llama with biases in either
    its attentions or its MLPs gets zero biases in the others.

    Example:
        model = load_pretrained("SmolLM2-135M"); logits = model(ids)

    Raises:
        ValueError: the model is of another family, it has an option that ours lacks, or files are
            missing, damaged, or not what config.json describes.
    """
    folder = Path(folder)
    fields = read_json(folder / "config.json")
    try:
        family = family_of(fields)
        config = family.read_config(fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
    require_weights_for(folder, config)
    with torch.device("meta"):  # only shapes: no weights are drawn just to be overwritten
        model = GPT(config)
    expected = to_theirs(model.state_dict(), family, config)
    missing_biases = family.missing_biases(fields, list(expected))
    zeros = {name: torch.zeros(expected.pop(name).shape) for name in missing_biases}
    tensors = read_tensors(folder, family, config)
    require_equal_shapes(folder, tensors, expected)
    weights = to_ours(tensors | zeros, list(model.state_dict()), family, config)
    model.load_state_dict(weights, assign=True)
    return model.eval()


@checked
def save_pretrained(model: GPT, folder: str | Path, tokenizer: BaseTokenizer | None = None) -> None:
    """Write model so that AutoModelForCausalLM of transformers loads it and gives equal logits.

    It becomes a GPT-2 or a Llama, whichever has the model's shape. GPT-2 always has biases: if the
    model has none, zeros are written. With a tokenizer, AutoTokenizer loads the folder too. The
    folder records no initialisation, and for Llama no dropout.

    Example:
        save_pretrained(model, "my-model", tokenizer)

    Raises:
        ValueError: neither has the model's shape, or the tokenizer makes ids beyond the model's.
    """
    folder, family = Path(folder), family_for(model.config)
    fields = {"architectures": [family.architecture], **family.write_config(model.config)}
    fields["dtype"] = str(model.head_weight.dtype).removeprefix("torch.")
    config = family.read_config(fields)
    with torch.device("meta"):
        expected = GPT(config).state_dict()
    biases = {
        name: model.head_weight.new_zeros(like.shape)
        for name, like in expected.items()
        if name.endswith(".bias")
    }
    tensors = {
        name if name.startswith("lm_head.") else family.prefix + name: tensor.cpu().contiguous()
        for name, tensor in to_theirs(biases | model.state_dict(), family, config).items()
    }
    eos_id = None if tokenizer is None else save_tokenizer(tokenizer, folder, config)
    with whole_file(folder / "model.safetensors") as path:
        path.write_bytes(save(tensors, {"format": "pt"}))
    # The last file, because nothing reads a folder without it.
    write_json(folder / "config.json", {**fields, "bos_token_id": eos_id, "eos_token_id": eos_id})


def save_tokenizer(tokenizer: BaseTokenizer, folder: Path, config: ModelConfig) -> int | None:
    """Write the tokenizer and transformers' settings for it; return the id that ends a text."""
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"the tokenizer makes ids up to {tokenizer.vocab_size - 1}, the model knows "
            f"{config.vocab_size}: was it trained with another tokenizer?"
        )
    eos = next((token for token in EOS_TOKENS if token in tokenizer.special_tokens), None)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context_length,
        "clean_up_tokenization_spaces": False,
    }
    tokenizer.save(folder)
    write_json(
        folder / "tokenizer_config.json",
        settings | ({"bos_token": eos, "eos_token": eos} if eos else {}),
    )
    return None if eos is None else tokenizer.special_tokens[eos]


def read_tensors(folder: Path, family: Family, config: ModelConfig) -> dict[str, Tensor]:
    """Return the weights in folder, their names without the prefix, and no tied head.

    Raises:
        ValueError: a file is missing or damaged, or a tied head differs from the embedding.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is missing or damaged ({error})") from None
    weights = {
        n.removeprefix(family.prefix): t for n, t in tensors.items() if not BUFFERS.search(n)
    }
    if config.tie_embeddings and "lm_head.weight" in weights:
        # A shared matrix may be stored under either name, or both.
        [embedding] = family.tensor_names("token_embedding.weight")
        head = weights.pop("lm_head.weight")
        if not torch.equal(weights.setdefault(embedding, head), head):
            raise ValueError(
                f"{folder} holds a head that differs from the embedding it should be tied to: set "
                "tie_word_embeddings to false in its config.json to use it, or delete it"
            )
    return weights


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files in folder.

    Raises:
        ValueError: there are none.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        try:
            names = sorted(set(read_json(index)["weight_map"].values()))
            outside = [name for name in names if Path(name).name != name]
        except (AttributeError, KeyError, TypeError):
            raise ValueError(f"{index} is damaged: it names no files") from None
        if outside:
            raise ValueError(f"{index} names {outside[0]!r}, which is no file of its folder")
        return [folder / name for name in names]
    if any(folder.glob("pytorch_model*.bin")):
        raise ValueError(
            f"{folder} has its weights in pytorch_model.bin, a pickle, and reading a pickle can "
            "run code hidden in it: convert it to safetensors with transformers' from_pretrained "
            "and save_pretrained, on a machine where that is safe"
        )
    raise ValueError(f"{folder} has no model.safetensors")


def require_weights_for(folder: Path, config: ModelConfig) -> None:
    """Raise ValueError if the files in folder are too small for a model of config.

    So a config.json of absurd sizes is refused before anything is made in these sizes.
    """
    paths = weight_files(folder)
    if missing := [path for path in paths if not path.is_file()]:
        raise ValueError(f"{missing[0]} is missing or damaged")
    n_bytes = sum(path.stat().st_size for path in paths)
    if config.n_parameters > n_bytes:
        raise ValueError(
            f"{folder / 'config.json'} describes a model of {config.n_parameters:,} parameters, "
            f"and the folder has weights of {n_bytes:,} bytes: one of the two is of another model"
        )


def require_equal_shapes(
    folder: Path, tensors: dict[str, Tensor], expected: dict[str, Tensor]
) -> None:
    """Raise ValueError if tensors are not those expected, naming the first that differ."""
    wrong = [f"{name} is missing" for name in expected if name not in tensors]
    wrong += [f"{name} is not part of the model" for name in tensors if name not in expected]
    for name, tensor in tensors.items():
        shape, wanted = tuple(tensor.shape), tuple(expected.get(name, tensor).shape)
        if shape != wanted:
            wrong.append(f"{name} has shape {shape}, not {wanted}")
    if wrong:
        more = f"; and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ValueError(
            f"{folder} does not hold what its config.json describes: {'; '.join(wrong[:4])}{more}"
        )


def to_theirs(weights: dict[str, Tensor], family: Family, config: ModelConfig) -> dict[str, Tensor]:
    """Return our weights under the names, and in the layout, of the family's checkpoints."""
    out = {}
    for ours, weight in weights.items():
        names = family.tensor_names(ours)
        heads = [config.d_head * n for n in (config.n_heads, config.n_kv, config.n_kv)]
        rows = {1: [len(weight)], 2: [config.d_hidden] * 2, 3: heads}[len(names)]
        for name, part in zip(names, weight.split(rows), strict=True):
            out[name] = converted(part, name, config.d_head, adjacent_to_half_split)
    return out


def to_ours(
    tensors: dict[str, Tensor], names: list[str], family: Family, config: ModelConfig
) -> dict[str, Tensor]:
    """Return a checkpoint's tensors under our names, in our layout, in float32.

    They are copies, so that the file may be replaced while the model is in use.
    """
    out = {}
    for ours in names:
        parts = [
            converted(tensors[name], name, config.d_head, half_split_to_adjacent)
            for name in family.tensor_names(ours)
        ]
        out[ours] = torch.cat(parts).float()
    return out


def converted(
    tensor: Tensor, name: str, d_head: int, reorder: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """Return a tensor in the other layout.

    GPT-2 stores linear weights as [in, out]. In Llama the rows of queries and keys are reordered
    for RoPE.
    """
    if ".c_" in name and tensor.ndim == 2:
        return tensor.T
    return reorder(tensor, d_head) if ".q_proj." in name or ".k_proj." in name else tensor


def family_of(fields: Any) -> Family:
    """Return the family of a config.json with these fields.

    Raises:
        ValueError: it is not one of FAMILIES.
    """
    model_type = fields.get("model_type") if isinstance(fields, dict) else None
    if model_type not in FAMILIES:
        raise ValueError(f"model_type {model_type!r} is not known, only {' and '.join(FAMILIES)}")
    choice(fields, "quantization_config", None)
    choice(fields, "is_causal", True)
    return FAMILIES[model_type]


def family_for(config: ModelConfig) -> Family:
    """Return the family that has config's shape.

    Raises:
        ValueError: none has; the message says which options each of them lacks.
    """
    problems = []
    for family in FAMILIES.values():
        unsupported = family.unsupported(config)
        if not unsupported:
            return family
        problems.append(f"{family.architecture} has no {', no '.join(unsupported)}")
    raise ValueError(f"no architecture of transformers fits this model: {'; '.join(problems)}")

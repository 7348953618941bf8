"""Models to and from folders of Hugging Face's transformers: GPT-2's and Llama's checkpoints.

Only the files are read and written, config.json and safetensors; transformers is not needed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lmcore.files import read_json, whole_file, write_json
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.model.rope import RopeScaling, halves_from_neighbours, neighbours_from_halves
from lmcore.tokenizer.base import BaseTokenizer

ACTIVATIONS = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
    "relu2": "relu2",
}
"""The activations of transformers that we have; of several names the first is written."""

BUFFERS = re.compile(r"\.attn\.(masked_)?bias$|rotary_emb\.inv_freq$")
"""What older checkpoints hold beside weights: masks and frequencies, which are computed anew."""

ENDS = ("<|endoftext|>", "<eos>")
"""Special tokens that end a text; the first one that a tokenizer has is declared as such."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """How one architecture of transformers says what a GPT is.

    Each of our modules is one of theirs, or several of which the rows follow each other in ours.
    """

    architecture: str
    stem: str
    layers: str
    modules: dict[str, tuple[str, ...]]
    optional_biases: dict[str, str]
    config: Callable[[dict[str, Any]], ModelConfig]
    fields: Callable[[ModelConfig], dict[str, Any]]
    shapes: Callable[[ModelConfig], dict[str, tuple]]

    def names(self, ours: str) -> list[str]:
        """Return the tensors that ours is made of, without the stem before their names."""
        module, kind = ours.rsplit(".", 1)
        before = ""
        if module.startswith("blocks."):
            _, layer, module = module.split(".", 2)
            before = f"{self.layers}.{layer}."
        return [f"{before}{theirs}.{kind}" for theirs in self.modules[module]]

    def without_bias(self, fields: dict[str, Any], names: list[str]) -> list[str]:
        """Return the biases among names that a model with these fields goes without."""
        parts = [part for part, field in self.optional_biases.items() if not fields.get(field)]
        return [n for n in names if n.endswith(".bias") and any(f".{p}." in n for p in parts)]


def load_pretrained(folder: str | Path) -> GPT:
    """Return the GPT-2 or Llama in a folder as transformers or its hub leave it, to evaluate.

    Weights become float32, whatever they are stored in. GPT-2's dropout is kept where its three
    rates are one, Llama's is of attention alone and becomes none. A Llama with biases in one half
    of a block gets zeros in the other.

    Example:
        model = load_pretrained("SmolLM2-135M"); logits = model(ids)

    Raises:
        ValueError: the model is of another family, has an option that ours lacks, or the files
            are missing, damaged, or not what config.json describes.
    """
    folder = Path(folder)
    fields = read_json(folder / "config.json")
    try:
        family = family_of(fields)
        config = family.config(fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None
    with torch.device("meta"):  # shapes alone: nothing is drawn only to be overwritten
        model = GPT(config)
    expected = laid_out(model.state_dict(), family, config)
    lacking = family.without_bias(fields, list(expected))
    zeros = {name: torch.zeros(expected.pop(name).shape) for name in lacking}
    tensors = read_tensors(folder, family, config)
    require_equal_shapes(folder, tensors, expected)
    weights = gathered(tensors | zeros, list(model.state_dict()), family, config)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def save_pretrained(model: GPT, folder: str | Path, tokenizer: BaseTokenizer | None = None) -> None:
    """Write model to folder so that transformers' AutoModelForCausalLM loads it, logits equal.

    Its architecture there is GPT-2's or Llama's, whichever has the model's shape. GPT-2 always has
    biases: where the model has none they are written as zeros. With a tokenizer, AutoTokenizer
    loads the folder too. How weights were initialised is not kept, nor is dropout with Llama's
    shape.

    Example:
        save_pretrained(model, "my-model", tokenizer)

    Raises:
        ValueError: neither has the model's shape, or the tokenizer makes ids beyond the model's.
    """
    folder, family = Path(folder), family_for(model.config)
    fields = {"architectures": [family.architecture], **family.fields(model.config)}
    fields["dtype"] = str(model.head_weight.dtype).removeprefix("torch.")
    config = family.config(fields)
    with torch.device("meta"):
        read_back = GPT(config).state_dict()
    biases = {
        name: model.head_weight.new_zeros(like.shape)
        for name, like in read_back.items()
        if name.endswith(".bias")
    }
    weights = biases | model.state_dict()
    tensors = {
        name if name.startswith("lm_head.") else family.stem + name: tensor.cpu().contiguous()
        for name, tensor in laid_out(weights, family, config).items()
    }
    end = None if tokenizer is None else save_tokenizer(tokenizer, folder, config)
    with whole_file(folder / "model.safetensors") as beside:
        beside.write_bytes(save(tensors, {"format": "pt"}))
    # Last, for nothing reads a folder without it.
    write_json(folder / "config.json", {**fields, "bos_token_id": end, "eos_token_id": end})


def save_tokenizer(tokenizer: BaseTokenizer, folder: Path, config: ModelConfig) -> int | None:
    """Write the tokenizer and how transformers is to use it; return the id that ends a text."""
    if tokenizer.vocab_size > config.vocab_size:
        raise ValueError(
            f"the tokenizer makes ids up to {tokenizer.vocab_size - 1}, the model knows "
            f"{config.vocab_size}: was it trained with another tokenizer?"
        )
    end = next((token for token in ENDS if token in tokenizer.special_tokens), None)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context_length,
        "clean_up_tokenization_spaces": False,
    }
    tokenizer.save(folder)
    write_json(
        folder / "tokenizer_config.json",
        settings | ({"bos_token": end, "eos_token": end} if end else {}),
    )
    return tokenizer.special_tokens.get(end)


def read_tensors(folder: Path, family: Family, config: ModelConfig) -> dict[str, Tensor]:
    """Return the weights in folder without the stem before their names, a tied head left out.

    Raises:
        ValueError: a file is missing or damaged, or a tied head is not the embedding.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} is missing or damaged ({error})") from None
    kept = {n.removeprefix(family.stem): t for n, t in tensors.items() if not BUFFERS.search(n)}
    if config.tie_embeddings and "lm_head.weight" in kept:
        # Either name may be the one under which a shared matrix was stored.
        [embedding] = family.names("token_embedding.weight")
        head = kept.pop("lm_head.weight")
        if not torch.equal(kept.setdefault(embedding, head), head):
            raise ValueError(
                f"{folder} holds a head that differs from the embedding it should be tied to: set "
                "tie_word_embeddings to false in its config.json to use it, or delete it"
            )
    return kept


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files in folder.

    Raises:
        ValueError: there are none.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        return [whole]
    if index.exists():
        try:
            return [folder / name for name in sorted(set(read_json(index)["weight_map"].values()))]
        except (AttributeError, KeyError, TypeError):
            raise ValueError(f"{index} is damaged: it names no files") from None
    if any(folder.glob("pytorch_model*.bin")):
        raise ValueError(
            f"{folder} has its weights in pytorch_model.bin, a pickle, and reading a pickle can "
            "run code hidden in it: have transformers write it anew as safetensors, with "
            "from_pretrained and save_pretrained, on a machine where that may happen"
        )
    raise ValueError(f"{folder} has no model.safetensors")


def require_equal_shapes(
    folder: Path, tensors: dict[str, Tensor], expected: dict[str, Tensor]
) -> None:
    """Raise ValueError if tensors are not those expected, naming the first that differ."""
    wrong = [f"{name} is missing" for name in expected if name not in tensors]
    wrong += [f"{name} is not part of the model" for name in tensors if name not in expected]
    for name, tensor in tensors.items():
        found, wanted = tuple(tensor.shape), tuple(expected.get(name, tensor).shape)
        if found != wanted:
            wrong.append(f"{name} has shape {found}, not {wanted}")
    if wrong:
        more = f"; and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ValueError(
            f"{folder} does not hold what its config.json describes: {'; '.join(wrong[:4])}{more}"
        )


def laid_out(weights: dict[str, Tensor], family: Family, config: ModelConfig) -> dict[str, Tensor]:
    """Return our weights by the names, and in the layout, of the family's checkpoints."""
    out = {}
    for ours, weight in weights.items():
        names = family.names(ours)
        heads = [config.d_head * n for n in (config.n_heads, config.n_kv, config.n_kv)]
        rows = {1: [len(weight)], 2: [config.d_ff] * 2, 3: heads}[len(names)]
        for name, part in zip(names, weight.split(rows), strict=True):
            out[name] = converted(part, name, config.d_head, halves_from_neighbours)
    return out


def gathered(
    tensors: dict[str, Tensor], names: list[str], family: Family, config: ModelConfig
) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by our names and in our layout, in float32.

    They are copies, so that the file may be replaced while the model lives.
    """
    out = {}
    for ours in names:
        parts = [
            converted(tensors[name], name, config.d_head, neighbours_from_halves)
            for name in family.names(ours)
        ]
        out[ours] = torch.cat(parts).float()
    return out


def converted(
    tensor: Tensor, name: str, d_head: int, reordered: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """Return a tensor laid out as a checkpoint has it under name, or as we have it.

    GPT-2 stores the weights of linear maps as [in, out]; of Llama's queries and keys the rows are
    reordered, there or back.
    """
    if ".c_" in name and tensor.ndim == 2:
        return tensor.T
    return reordered(tensor, d_head) if ".q_proj." in name or ".k_proj." in name else tensor


def family_of(fields: Any) -> Family:
    """Return the family that a config.json with these fields is of."""
    model_type = fields.get("model_type") if isinstance(fields, dict) else None
    if model_type not in FAMILIES:
        raise ValueError(f"model_type {model_type!r} is not known, only {' and '.join(FAMILIES)}")
    choice(fields, "quantization_config", None)
    return FAMILIES[model_type]


def family_for(config: ModelConfig) -> Family:
    """Return the family whose architecture has config's shape.

    Raises:
        ValueError: none has; the message says which options each of them lacks.
    """
    lacks = {}
    for family in FAMILIES.values():
        known = BOTH | family.shapes(config)
        lacks[family.architecture] = [
            f"{name} {getattr(config, name)!r}"
            for name in known
            if getattr(config, name) not in known[name]
        ]
        if not lacks[family.architecture]:
            return family
    told = "; ".join(f"{name} has no {', no '.join(options)}" for name, options in lacks.items())
    raise ValueError(f"no architecture of transformers fits this model: {told}")


def choice(fields: dict[str, Any], name: str, *known: Any) -> Any:
    """Return the field called name, by default the first of known; refuse what is not known."""
    value = known[0] if fields.get(name) is None else fields[name]
    if value not in known:
        told = ", ".join(map(repr, known))
        raise ValueError(f"{name} {value!r} has no counterpart here, only {told}")
    return value


def sizes(fields: dict[str, Any], **names: str) -> dict[str, int]:
    """Return the sizes that stand in fields under names, by ours."""
    lacking = [name for name in names.values() if type(fields.get(name)) is not int]
    if lacking:
        raise ValueError(f"{', '.join(lacking)}: missing, or not a whole number")
    return {ours: fields[theirs] for ours, theirs in names.items()}


def gpt2_config(fields: dict[str, Any]) -> ModelConfig:
    """Return the config of a GPT-2 with these fields; those that are absent have its defaults."""
    choice(fields, "scale_attn_weights", True)
    choice(fields, "scale_attn_by_inverse_layer_idx", False)
    choice(fields, "add_cross_attention", False)
    rates = {fields.get(f"{part}_pdrop", 0.1) for part in ("resid", "embd", "attn")}
    shape = sizes(
        fields, vocab_size="vocab_size", context_length="n_positions", d_model="n_embd",
        n_layers="n_layer", n_heads="n_head",
    )  # fmt: skip
    inner = {"n_inner": fields.get("n_inner") or 4 * shape["d_model"]}
    return ModelConfig(
        **shape,
        **sizes(inner, d_ff="n_inner"),
        activation=ACTIVATIONS[choice(fields, "activation_function", *ACTIVATIONS)],
        norm_eps=fields.get("layer_norm_epsilon", 1e-5),
        tie_embeddings=choice(fields, "tie_word_embeddings", True, False),
        dropout=rates.pop() if len(rates) == 1 else 0.0,
        initialisation="gpt2",
    )


def gpt2_fields(config: ModelConfig) -> dict[str, Any]:
    """Return what transformers calls the values of a config with GPT-2's shape."""
    return {
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "activation_function": next(k for k, v in ACTIVATIONS.items() if v == config.activation),
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        **{f"{part}_pdrop": config.dropout for part in ("resid", "embd", "attn")},
    }


def llama_config(fields: dict[str, Any]) -> ModelConfig:
    """Return the config of a Llama with these fields; those that are absent have its defaults."""
    choice(fields, "hidden_act", "silu", "swish")
    shape = sizes(
        {"max_position_embeddings": 2048} | fields,
        vocab_size="vocab_size", context_length="max_position_embeddings", d_model="hidden_size",
        n_layers="num_hidden_layers", n_heads="num_attention_heads", d_ff="intermediate_size",
    )  # fmt: skip
    n_kv_heads, head_size = fields.get("num_key_value_heads"), fields.get("head_dim")
    has_own_keys = n_kv_heads == shape["n_heads"]
    has_common_size = head_size is not None and head_size * shape["n_heads"] == shape["d_model"]
    rope_base, rope_scaling = rope_of(fields, shape["context_length"])
    return ModelConfig(
        **shape,
        n_kv_heads=None if has_own_keys else n_kv_heads,
        head_size=None if has_common_size else head_size,
        activation="swiglu",
        positions="rope",
        rope_base=rope_base,
        rope_scaling=rope_scaling,
        norm="rms",
        norm_eps=fields.get("rms_norm_eps", 1e-6),
        bias=bool(fields.get("attention_bias") or fields.get("mlp_bias")),
        tie_embeddings=choice(fields, "tie_word_embeddings", False, True),
        dropout=0.0,
    )


def rope_of(fields: dict[str, Any], context_length: int) -> tuple[float, RopeScaling | None]:
    """Return base and stretch of RoPE from where transformers 5, or the versions before, put them.

    Raises:
        ValueError: its kind is neither the plain one nor llama3 nor linear, or a number is missing.
    """
    rope = fields.get("rope_scaling") or fields.get("rope_parameters") or {}
    for name in ("rope_theta", "partial_rotary_factor"):
        rope = {name: fields.get(name)} | rope
    rope = {"rope_type": rope.get("type")} | rope
    kind = choice(rope, "rope_type", "default", "llama3", "linear")
    choice(rope, "partial_rotary_factor", 1.0)
    stretch = None
    try:
        if kind == "linear":
            stretch = slowed(rope["factor"])
        if kind == "llama3":
            stretch = RopeScaling(
                factor=rope["factor"],
                low_freq_factor=rope["low_freq_factor"],
                high_freq_factor=rope["high_freq_factor"],
                original_context_length=rope.get(
                    "original_max_position_embeddings", context_length
                ),
            )
    except KeyError as error:
        raise ValueError(f"rope_type {kind!r} lacks its {error.args[0]}") from None
    return float(rope.get("rope_theta") or 10_000.0), stretch


def slowed(factor: float) -> RopeScaling:
    """Return the stretch that slows all waves alike: in a context of one token none turns once."""
    return RopeScaling(
        factor=factor, low_freq_factor=1.0, high_freq_factor=2.0, original_context_length=1
    )


def llama_fields(config: ModelConfig) -> dict[str, Any]:
    """Return what transformers calls the values of a config with Llama's shape.

    RoPE's stand where versions before 5 had them: later ones read both places.
    """
    stretch, scaling = config.rope_scaling, None
    if stretch and stretch == slowed(stretch.factor):
        scaling = {"rope_type": "linear", "factor": stretch.factor}
    elif stretch:
        scaling = {
            "rope_type": "llama3",
            "factor": stretch.factor,
            "low_freq_factor": stretch.low_freq_factor,
            "high_freq_factor": stretch.high_freq_factor,
            "original_max_position_embeddings": stretch.original_context_length,
        }
    return {
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv,
        "head_dim": config.d_head,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,
        "rope_scaling": scaling,
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "tie_word_embeddings": config.tie_embeddings,
    }


BOTH = {
    "norm_at": ("pre",), "qk_norm": (False,), "parallel_residual": (False,), "layer_scale": (None,),
    "embedding_scale": (1.0,), "head_scale": (None,),
}  # fmt: skip
"""What GPT-2 and Llama have in common, beside what the shapes of each allow."""

FAMILIES = {
    "gpt2": Family(
        architecture="GPT2LMHeadModel",
        stem="transformer.",
        layers="h",
        modules={
            "token_embedding": ("wte",),
            "position_embedding": ("wpe",),
            "attention_norm": ("ln_1",),
            "attention.qkv": ("attn.c_attn",),
            "attention.out": ("attn.c_proj",),
            "mlp_norm": ("ln_2",),
            "mlp.up": ("mlp.c_fc",),
            "mlp.down": ("mlp.c_proj",),
            "norm": ("ln_f",),
            "head": ("lm_head",),
        },
        optional_biases={},
        config=gpt2_config,
        fields=gpt2_fields,
        shapes=lambda config: {
            "positions": ("learned",),
            "norm": ("layer",),
            "activation": tuple(ACTIVATIONS.values()),
            "n_kv_heads": (None, config.n_heads),
            "head_size": (None, config.d_model / config.n_heads),
        },
    ),
    "llama": Family(
        architecture="LlamaForCausalLM",
        stem="model.",
        layers="layers",
        modules={
            "token_embedding": ("embed_tokens",),
            "attention_norm": ("input_layernorm",),
            "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            "attention.out": ("self_attn.o_proj",),
            "mlp_norm": ("post_attention_layernorm",),
            "mlp.up": ("mlp.gate_proj", "mlp.up_proj"),
            "mlp.down": ("mlp.down_proj",),
            "norm": ("norm",),
            "head": ("lm_head",),
        },
        optional_biases={"self_attn": "attention_bias", "mlp": "mlp_bias"},
        config=llama_config,
        fields=llama_fields,
        shapes=lambda config: {
            "positions": ("rope",),
            "norm": ("rms",),
            "activation": ("swiglu",),
            # transformers asks for this even where the size of a head is given.
            "d_model": (config.d_model // config.n_heads * config.n_heads,),
        },
    ),
}

"""GPT-2 as transformers describes it."""

from typing import Any

from lmcore.model.config import ModelConfig
from lmcore.model.interop.family import Family, choice, sizes, with_aliases
from lmcore.model.mlp import Activation

ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
    "relu2": "relu2",
}
"""Our activation for each of theirs; where several are the same, we write the first."""


ALIASES = {
    "n_positions": "max_position_embeddings",
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
}
"""Other names under which transformers reads GPT-2's sizes."""


def read_config(fields: dict[str, Any]) -> ModelConfig:
    """Return the config of a GPT-2 with these fields; absent fields have transformers' defaults."""
    fields = with_aliases(fields, ALIASES)
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


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Return the fields of config.json for a config with GPT-2's shape."""
    return {
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_length,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_hidden,
        "activation_function": next(k for k, v in ACTIVATIONS.items() if v == config.activation),
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        **{f"{part}_pdrop": config.dropout for part in ("resid", "embd", "attn")},
    }


def options(config: ModelConfig) -> dict[str, tuple]:
    """Return the values that GPT-2 allows for fields of config."""
    return {
        "positions": ("learned",),
        "norm": ("layer",),
        "activation": tuple(ACTIVATIONS.values()),
        "n_kv_heads": (None, config.n_heads),
        "head_size": (None, config.d_model / config.n_heads),
    }


FAMILY = Family(
    architecture="GPT2LMHeadModel",
    prefix="transformer.",
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
    read_config=read_config,
    write_config=write_config,
    options=options,
)

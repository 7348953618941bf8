"""Llama as transformers describes it."""

from typing import Any

from lmcore.model.config import ModelConfig
from lmcore.model.interop.family import Family, choice, sizes
from lmcore.model.rope import RopeScaling


def read_config(fields: dict[str, Any]) -> ModelConfig:
    """Return the config of a Llama with these fields; absent fields have transformers' defaults."""
    choice(fields, "hidden_act", "silu", "swish")
    shape = sizes(
        {"max_position_embeddings": 2048} | fields,
        vocab_size="vocab_size", context_length="max_position_embeddings", d_model="hidden_size",
        n_layers="num_hidden_layers", n_heads="num_attention_heads", d_ff="intermediate_size",
    )  # fmt: skip
    n_kv_heads, head_size = fields.get("num_key_value_heads"), fields.get("head_dim")
    is_ungrouped = n_kv_heads == shape["n_heads"]
    is_even_split = head_size is not None and head_size * shape["n_heads"] == shape["d_model"]
    rope_base, rope_scaling = read_rope(fields, shape["context_length"])
    return ModelConfig(
        **shape,
        n_kv_heads=None if is_ungrouped else n_kv_heads,
        head_size=None if is_even_split else head_size,
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


def read_rope(fields: dict[str, Any], context_length: int) -> tuple[float, RopeScaling | None]:
    """Return RoPE's base and scaling, from where transformers 5 or earlier versions put them.

    Of several places for a number, the one counts that counts for transformers.

    Raises:
        ValueError: the scaling is neither llama3 nor linear, or a number is missing.
    """
    rope: dict[str, Any] = fields.get("rope_scaling") or fields.get("rope_parameters") or {}
    for name in ("rope_theta", "partial_rotary_factor"):
        rope = {name: fields.get(name)} | rope
    rope = {"rope_type": rope.get("type")} | rope
    for name, value in rope.items():
        if isinstance(value, dict):
            raise ValueError(f"RoPE of its own for {name} has no counterpart here")
    kind = choice(rope, "rope_type", "default", "llama3", "linear")
    choice(rope, "partial_rotary_factor", 1.0)
    scaling = None
    try:
        if kind == "linear":
            scaling = linear_scaling(rope["factor"])
        if kind == "llama3":
            scaling = RopeScaling(
                factor=rope["factor"],
                low_freq_factor=rope["low_freq_factor"],
                high_freq_factor=rope["high_freq_factor"],
                original_context_length=fields.get("original_max_position_embeddings")
                or rope.get("original_max_position_embeddings", context_length),
            )
    except KeyError as error:
        raise ValueError(f"rope_type {kind!r} lacks its {error.args[0]}") from None
    return rope.get("rope_theta") or 10_000.0, scaling


def linear_scaling(factor: float) -> RopeScaling:
    """Return the scaling that slows all waves alike: in a context of one token none turns once."""
    return RopeScaling(
        factor=factor, low_freq_factor=1.0, high_freq_factor=2.0, original_context_length=1
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Return the fields of config.json for a config with Llama's shape.

    RoPE's are where versions before 5 put them, because later ones read both places.
    """
    return {
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context_length,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_hidden,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv,
        "head_dim": config.d_head,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_base,
        "rope_scaling": write_scaling(config.rope_scaling),
        "attention_bias": config.bias,
        "mlp_bias": config.bias,
        "tie_word_embeddings": config.tie_embeddings,
    }


def write_scaling(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """Return the field rope_scaling."""
    if scaling is None:
        return None
    if scaling == linear_scaling(scaling.factor):
        return {"rope_type": "linear", "factor": scaling.factor}
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_context_length,
    }


def options(config: ModelConfig) -> dict[str, tuple]:
    """Return the values that Llama allows for fields of config."""
    return {
        "positions": ("rope",),
        "norm": ("rms",),
        "activation": ("swiglu",),
        # transformers insists on an even split even where the size of a head is given.
        "d_model": (config.d_model // config.n_heads * config.n_heads,),
    }


FAMILY = Family(
    architecture="LlamaForCausalLM",
    prefix="model.",
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
    read_config=read_config,
    write_config=write_config,
    options=options,
)

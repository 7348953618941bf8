"""The shape of a decoder. GPT-2 and Llama are two configurations of it."""

from dataclasses import dataclass
from typing import Literal

from lmcore.config import check_choices
from lmcore.model import accounting
from lmcore.model.rope import RopeScaling

Activation = Literal["gelu", "gelu_tanh", "silu", "relu", "relu2", "swiglu"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a decoder; vocab_size comes from the tokenizer.

    Without n_kv_heads each query head has keys and values of its own, and without head_size the
    heads share d_model. Llama's shape has a d_ff of `swiglu_hidden_size`. With a head_scale, logits
    are that number times the cosine between features and rows of the head. initial_scale multiplies
    every matrix as drawn, embedding_scale the tokens' embeddings as they are read: sqrt(d_model)
    in Vaswani et al. 2017 (1706.03762), without which sinusoidal positions drown them.
    """

    vocab_size: int
    context_length: int = 128
    d_model: int = 512
    n_layers: int = 6
    n_heads: int = 8
    n_kv_heads: int | None = None
    head_size: int | None = None
    d_ff: int = 2048
    activation: Activation = "gelu"
    positions: Literal["learned", "rope", "sinusoidal", "none"] = "learned"
    rope_base: float = 10_000.0
    rope_scaling: RopeScaling | None = None
    norm: Literal["layer", "rms", "none"] = "layer"
    norm_at: Literal["pre", "post"] = "pre"
    norm_eps: float = 1e-5
    qk_norm: bool = False
    parallel_residual: bool = False
    layer_scale: float | None = None
    bias: bool = True
    tie_embeddings: bool = True
    dropout: float = 0.1
    initialisation: Literal["flat", "gpt2", "truncated", "zero_residual"] = "flat"
    initial_scale: float = 1.0
    embedding_scale: float = 1.0
    head_scale: float | None = None

    def __post_init__(self):
        for name in ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        check_choices(self)
        if self.head_size is None and self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} does not split into {self.n_heads} heads")
        if self.d_head < 1 or self.n_kv < 1 or self.n_heads % self.n_kv:
            raise ValueError(
                f"{self.n_heads} heads of {self.d_head} features cannot share "
                f"{self.n_kv} heads of keys and values"
            )
        if self.positions == "rope" and self.d_head % 2:
            raise ValueError(f"RoPE turns pairs of features: d_head {self.d_head} is odd")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"sine and cosine need an even d_model, not {self.d_model}")
        if self.rope_base <= 0 or self.norm_eps <= 0:
            raise ValueError(f"rope_base {self.rope_base}, norm_eps {self.norm_eps}: above 0 only")
        if self.parallel_residual and self.norm_at == "post":
            raise ValueError("parallel attention and MLP share the norm before them: norm_at pre")
        if self.tie_embeddings and self.initialisation == "truncated":
            raise ValueError(
                "truncated initialisation draws embeddings with standard deviation 1, too wide for "
                "a tied head: set tie_embeddings=False or initialisation='gpt2'"
            )
        scales = (self.initial_scale, self.embedding_scale, self.head_scale)
        if any(scale is not None and scale <= 0 for scale in scales):
            raise ValueError(
                f"initial_scale {scales[0]}, embedding_scale {scales[1]}, head_scale {scales[2]}: "
                "above 0 only"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")

    @property
    def d_head(self) -> int:
        """Features of one attention head."""
        return self.d_model // self.n_heads if self.head_size is None else self.head_size

    @property
    def n_kv(self) -> int:
        """Heads of keys and values."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def d_up(self) -> int:
        """Features that the MLP's first map makes: a gate doubles them."""
        return 2 * self.d_ff if self.activation == "swiglu" else self.d_ff

    @property
    def n_parameters(self) -> int:
        """Trained numbers, the embedding shared with the head counted once."""
        return accounting.n_parameters(self)

    @property
    def flops_per_token(self) -> int:
        """Operations of one training step for a token at full context; see `accounting`."""
        return accounting.flops_per_token(self)


def swiglu_hidden_size(d_model: int) -> int:
    """Return the d_ff at which SwiGLU has about the parameters of a plain MLP of 4 d_model.

    It is 8/3 d_model, to the nearest multiple of 64 (Shazeer 2020, 2002.05202).
    """
    return max(64, round(d_model * 8 / 3 / 64) * 64)

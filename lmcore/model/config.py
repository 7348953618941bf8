"""The shape of a decoder. GPT-2 and Llama are two configurations of it."""

from dataclasses import dataclass
from typing import Literal

from lmcore.boundary import convert_fields
from lmcore.model import accounting
from lmcore.model.heads import head_sizes
from lmcore.model.mlp import Activation, default_hidden_size
from lmcore.model.norm import NormAt, NormKind
from lmcore.model.rope import RoPE, RopeScaling

Positions = Literal["learned", "rope", "sinusoidal", "none"]
Initialisation = Literal["flat", "gpt2", "truncated", "zero_residual"]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a decoder and how its weights are drawn."""

    vocab_size: int
    """Number of token ids; it comes from the tokenizer."""

    context_length: int = 128
    """Longest sequence the model reads, in tokens."""

    d_model: int = 512
    """Features of each position in the residual stream."""

    n_layers: int = 6
    """Number of blocks."""

    n_heads: int = 8
    """Query heads of each attention."""

    n_kv_heads: int | None = None
    """Key/value heads of each attention, shared by groups of query heads; None: n_heads."""

    head_size: int | None = None
    """Features of one attention head; None: d_model / n_heads."""

    d_ff: int | None = None
    """Hidden features of the MLP; None: 4 d_model, or about 8/3 d_model for SwiGLU."""

    activation: Activation = "gelu"
    """Activation of the MLP; gelu is exact, gelu_tanh is GPT-2's approximation."""

    positions: Positions = "learned"
    """How the model knows the order of tokens."""

    rope_base: float = 10_000.0
    """Base of RoPE's frequencies: pair k turns base^(-2k / d_head) radians per position."""

    rope_scaling: RopeScaling | None = None
    """Llama 3.1's scaling of RoPE for a longer context; None: no scaling."""

    norm: NormKind = "layer"
    """LayerNorm, RMSNorm or no norm."""

    norm_at: NormAt = "pre"
    """Whether norms come before attention and MLP, or after the residual sum."""

    norm_eps: float = 1e-5
    """Number added to the variance or mean square in norms."""

    qk_norm: bool = False
    """Whether queries and keys are normalised, per head, by an RMSNorm."""

    parallel_residual: bool = False
    """Whether attention and MLP read the same norm and are added together, as in GPT-J."""

    layer_scale: float | None = None
    """Where LayerScale's learned factors start; None: no LayerScale."""

    bias: bool = True
    """Whether linear maps and LayerNorms have biases; the head never has."""

    tie_embeddings: bool = True
    """Whether the head uses the token embedding's matrix."""

    dropout: float = 0.1
    """Probability that an embedding, attention weight or block output is dropped in training."""

    initialisation: Initialisation = "flat"
    """How weights are drawn; see lmcore.model.initialisation."""

    initial_scale: float = 1.0
    """Factor on every matrix when it is drawn."""

    embedding_scale: float = 1.0
    """Factor on token embeddings when they are read; sqrt(d_model) in Vaswani et al. 2017."""

    head_scale: float | None = None
    """Logits are this times the cosine of features and head rows; None: their dot product."""

    def __post_init__(self):
        convert_fields(self)
        for name in ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        head_sizes(self.d_model, self.n_heads, self.n_kv_heads, self.head_size)
        if self.positions == "rope" and self.d_head % 2:
            raise ValueError(f"RoPE turns pairs of features: d_head {self.d_head} is odd")
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"sine and cosine need an even d_model, not {self.d_model}")
        if self.parallel_residual and self.norm_at == "post":
            raise ValueError(
                "parallel_residual shares one norm before attention and MLP: it needs norm_at "
                "'pre', not 'post'"
            )
        if self.tie_embeddings and self.initialisation == "truncated":
            raise ValueError(
                "truncated initialisation draws embeddings with standard deviation 1, too wide for "
                "a tied head: set tie_embeddings=False or initialisation='gpt2'"
            )
        positive = ("rope_base", "norm_eps", "initial_scale", "embedding_scale", "head_scale")
        for name in positive:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")

    @property
    def d_head(self) -> int:
        """Features of one attention head."""
        return head_sizes(self.d_model, self.n_heads, self.n_kv_heads, self.head_size)[1]

    @property
    def n_kv(self) -> int:
        """Key/value heads of each attention, with the default filled in."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def d_hidden(self) -> int:
        """Hidden features of the MLP, with the default filled in."""
        return self.d_ff or default_hidden_size(self.d_model, self.activation)

    @property
    def d_up(self) -> int:
        """Features that the MLP's first map makes: a gate doubles them."""
        return 2 * self.d_hidden if self.activation == "swiglu" else self.d_hidden

    @property
    def rope(self) -> RoPE | None:
        """RoPE's frequencies; None if positions are of another kind."""
        return RoPE(self.rope_base, self.rope_scaling) if self.positions == "rope" else None

    @property
    def n_parameters(self) -> int:
        """Trained numbers, with an embedding shared by the head counted once."""
        return accounting.n_parameters(self)

    @property
    def flops_per_token(self) -> int:
        """Operations of one training step for a token at full context; see `accounting`."""
        return accounting.flops_per_token(self)

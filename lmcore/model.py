"""A pre-norm decoder in GPT-2's shape, read from bottom to top: blocks first, the model last.

Linear weights are stored [out, in]; all initialisation stands in `GPT.initialise`.
"""

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a decoder; vocab_size comes from the tokenizer."""

    vocab_size: int
    context_length: int = 128
    d_model: int = 512
    n_layers: int = 6
    n_heads: int = 8
    d_ff: int = 2048
    dropout: float = 0.1

    def __post_init__(self):
        sizes = ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} does not split into {self.n_heads} heads")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")

    @property
    def d_head(self) -> int:
        """Features of one attention head."""
        return self.d_model // self.n_heads

    @property
    def n_parameters(self) -> int:
        """Trained numbers, the embedding shared with the head counted once."""
        attention = 4 * self.d_model * (self.d_model + 1)
        mlp = 2 * self.d_model * self.d_ff + self.d_ff + self.d_model
        norms = 2 * self.d_model
        embeddings = (self.vocab_size + self.context_length) * self.d_model
        return embeddings + self.n_layers * (attention + mlp + 2 * norms) + norms

    @property
    def flops_per_token(self) -> int:
        """Multiplications and additions of one training step for a token, at full context.

        Forward plus backward is three times forward; matrix products only, attention in full.
        """
        matrices = self.n_layers * (4 * self.d_model**2 + 2 * self.d_model * self.d_ff)
        matrices += self.vocab_size * self.d_model
        attention = 2 * self.n_layers * self.context_length * self.d_model
        return 3 * 2 * (matrices + attention)


@torch.library.custom_op("lmcore::kept", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def kept(x: Tensor, dropout: float, fresh: Tensor) -> Tensor:
    """Return a mask of x's shape, False with probability dropout (to 1 part in 65,536).

    On a CPU one 64-bit draw serves four elements, seven times as fast as torch's own dropout.
    Compilation makes one of calls with equal arguments; a new empty tensor equals no other.
    """
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    below = round(dropout * 2**16) - 2**15
    return (draws.view(torch.int16)[: x.numel()] >= below).view(x.shape)


@kept.register_fake
def _(x: Tensor, dropout: float, fresh: Tensor) -> Tensor:
    return torch.empty(x.shape, dtype=torch.bool, device=x.device)


def drop(x: Float[Tensor, "*shape"], dropout: float) -> Float[Tensor, "*shape"]:
    """Return x with elements set to zero with probability dropout and the others scaled up."""
    if dropout == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, dropout)
    return x * kept(x, dropout, torch.empty(0)) * (1 / (1 - dropout))


def attend(
    q: Float[Tensor, "*batch q_len d_head"],
    k: Float[Tensor, "*batch k_len d_head"],
    v: Float[Tensor, "*batch k_len d_value"],
    dropout: float = 0.0,
) -> Float[Tensor, "*batch q_len d_value"]:
    """Return causal softmax(q kᵀ / sqrt(d_head)) v; the last query sees every key.

    Written out instead of fused: on a CPU the fused kernel has no dropout, and compiled this is
    the faster one at the studies' context lengths. The softmax is taken in float32.
    """
    q_len, k_len = q.shape[-2], k.shape[-2]
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)
    hidden = torch.ones(q_len, k_len, dtype=torch.bool, device=q.device).triu(k_len - q_len + 1)
    weights = scores.float().masked_fill(hidden, -torch.inf).softmax(-1).to(v.dtype)
    return drop(weights, dropout) @ v


class Attention(nn.Module):
    """Causal multi-head self-attention; head h uses rows h·d_head … of each of q, k and v."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.n_heads, self.dropout = config.n_heads, config.dropout
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.out = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        batch, seq, d_model = x.shape
        heads = self.qkv(x).view(batch, seq, 3, self.n_heads, d_model // self.n_heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        y = attend(q, k, v, self.dropout if self.training else 0.0)
        y = self.out(y.transpose(1, 2).reshape(batch, seq, d_model))
        return drop(y, self.dropout if self.training else 0.0)


class MLP(nn.Module):
    """Two linear maps around an exact GELU."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.dropout = config.dropout
        self.up = nn.Linear(config.d_model, config.d_ff)
        self.down = nn.Linear(config.d_ff, config.d_model)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return drop(self.down(F.gelu(self.up(x))), self.dropout if self.training else 0.0)


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.d_model)
        self.mlp = MLP(config)

    def forward(self, x: Float[Tensor, "batch seq d_model"]) -> Float[Tensor, "batch seq d_model"]:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class GPT(nn.Module):
    """A decoder-only language model (Radford et al. 2019) whose head is its token embedding.

    It differs from GPT-2 in three ways: exact GELU, positions that start at zero, and residual
    projections that are not scaled down at the start.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw matrices from N(0, 0.02); biases and positions are zero, norms are one."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.position_embedding.weight)

    def hidden(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq d_model"]:
        """Return the normalised features that the head turns into logits.

        Raises:
            ValueError: the sequence is longer than the context.
        """
        seq = ids.shape[1]
        if seq > self.config.context_length:
            raise ValueError(
                f"{seq} tokens do not fit the model's context of {self.config.context_length}"
            )
        x = self.token_embedding(ids) + self.position_embedding.weight[:seq]
        x = drop(x, self.config.dropout if self.training else 0.0)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        """Return unnormalised logits for the token after each position."""
        return F.linear(self.hidden(ids), self.token_embedding.weight)


class _LinearCrossEntropy(torch.autograd.Function):
    """Both gradients are made in the forward pass, a few rows of logits at a time."""

    @staticmethod
    def forward(ctx, x, weight, targets, rows, compiled):
        n = len(targets)
        cast = weight.to(x.dtype)
        step = _compiled_slope() if compiled else _slope
        loss = torch.zeros((), device=x.device)
        d_x, d_weight = torch.empty_like(x), torch.zeros_like(weight)
        for start in range(0, n, rows):
            part = slice(start, start + rows)
            nats, slope = step(x[part] @ cast.T, targets[part], n)
            loss += nats
            torch.mm(slope, cast, out=d_x[part])
            d_weight += slope.T @ x[part]
        ctx.save_for_backward(d_x, d_weight)
        return loss

    @staticmethod
    def backward(ctx, d_loss):
        d_x, d_weight = ctx.saved_tensors
        return d_x * d_loss, d_weight * d_loss, None, None, None


def _slope(logits: Tensor, targets: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return these rows' share of the mean loss, and its gradient by the logits."""
    logits32 = logits.float()
    log_z = logits32.logsumexp(-1, keepdim=True)
    nats = (log_z - logits32.gather(-1, targets[:, None])).sum() / n
    hit = torch.arange(logits.shape[-1], device=logits.device) == targets[:, None]
    return nats, (((logits32 - log_z).exp() - hit.float()) / n).to(logits.dtype)


@functools.cache
def _compiled_slope():
    return torch.compile(_slope, dynamic=False)


def linear_cross_entropy(
    x: Float[Tensor, "rows d_model"],
    weight: Float[Tensor, "vocab d_model"],
    targets: Int[Tensor, "rows"],
    rows: int = 1024,
    compiled: bool = False,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy in nats of the logits x weightᵀ, which are never all held.

    The softmax is taken in float32, the products in x's dtype; memory follows rows.
    """
    return _LinearCrossEntropy.apply(x, weight, targets, rows, compiled)

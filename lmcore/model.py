"""One decoder with options, read from bottom to top: parts first, the model last.

GPT-2's and Llama's shapes are two configurations of it. Linear weights are stored [out, in]; all
initialisation stands in `GPT.initialise`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmcore import accounting
from lmcore.config import check_choices
from lmcore.dropout import drop
from lmcore.flex import BlockMask, attend_in_blocks
from lmcore.rope import RopeStretch, rope_table, rotate

Activation = Literal["gelu", "gelu_tanh", "silu", "relu", "relu2", "swiglu"]
Rotation = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a decoder; vocab_size comes from the tokenizer.

    Without n_kv_heads each query head has keys and values of its own, and without head_size the
    heads share d_model. Llama's shape has a d_ff of `gated_width`. With a head_scale, logits are
    that number times the cosine between features and rows of the head. initial_scale multiplies
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
    rope_stretch: RopeStretch | None = None
    norm: Literal["layer", "rms", "none"] = "layer"
    norm_at: Literal["pre", "post"] = "pre"
    norm_eps: float = 1e-5
    qk_norm: bool = False
    parallel: bool = False
    layer_scale: float | None = None
    bias: bool = True
    tied: bool = True
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
        if self.parallel and self.norm_at == "post":
            raise ValueError("parallel attention and MLP share the norm before them: norm_at pre")
        if self.tied and self.initialisation == "truncated":
            raise ValueError(
                "truncated initialisation draws embeddings with standard deviation 1, too wide for "
                "a tied head: set tied=False or initialisation='gpt2'"
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


def gated_width(d_model: int) -> int:
    """Return the d_ff at which SwiGLU has about the parameters of a plain MLP of 4 d_model.

    It is 8/3 d_model, to the nearest multiple of 64 (Shazeer 2020, 2002.05202).
    """
    return max(64, round(d_model * 8 / 3 / 64) * 64)


def rms_norm(
    x: Float[Tensor, "*batch features"], weight: Float[Tensor, "features"], eps: float
) -> Float[Tensor, "*batch features"]:
    """Return x / sqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019, 1910.07467).

    It is computed in float32 and returned in x's dtype.
    """
    x32 = x.float()
    scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + eps)
    return (x32 * scale * weight).to(x.dtype)


def activate(x: Float[Tensor, "*batch up"], activation: Activation) -> Float[Tensor, "*batch d_ff"]:
    """Return the MLP's hidden features; of swiglu's input the first half gates the second.

    GELU is exact (Hendrycks & Gimpel 2016, 1606.08415) or GPT-2's approximation by tanh, ReLU²
    is from So et al. 2021 (2109.08668), SwiGLU from Shazeer 2020 (2002.05202).
    """
    if activation == "swiglu":
        gate, value = x.chunk(2, dim=-1)
        return F.silu(gate) * value
    if activation in ("relu", "relu2"):
        return F.relu(x) if activation == "relu" else F.relu(x).square()
    if activation == "silu":
        return F.silu(x)
    if activation == "gelu_tanh" and x.dtype == torch.bfloat16 and torch.compiler.is_compiling():
        return gelu_by_sigmoid(x)
    return F.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


def gelu_by_sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return GPT-2's GELU without tanh, which takes generated code for a CPU three times as long.

    1 + tanh(y) is 2 sigmoid(2 y). It is computed in float32, where the gradient is off by up to
    2e-6 far out: less than bfloat16 shows.
    """
    x32 = x.float()
    doubled = 2 * math.sqrt(2 / math.pi) * (x32 + 0.044715 * x32**3)
    return (x32 * doubled.sigmoid()).to(x.dtype)


def causal_mask(q_len: int, k_len: int, device: torch.device) -> Bool[Tensor, "q_len k_len"]:
    """Return which keys each query may see; the last query sees every key."""
    return torch.ones(q_len, k_len, dtype=torch.bool, device=device).tril(k_len - q_len)


FEW_KEYS = 8
"""Up to so many keys, one query's products are faster as sums: as matrices they are too small."""


def attend(
    q: Float[Tensor, "*batch q_len d_head"],
    k: Float[Tensor, "*batch k_len d_head"],
    v: Float[Tensor, "*batch k_len d_value"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    causal: bool = False,
    dropout: float = 0.0,
) -> Float[Tensor, "*batch q_len d_value"]:
    """Return softmax(q kᵀ / sqrt(d_head)) v over the keys for which mask is True.

    The mask broadcasts over leading dimensions, and each query must be let see some key; causal
    is `causal_mask`. Where gradients are wanted on a CPU it is written out: there the fused kernel
    has no dropout and a slow backward pass, and compiled this is the faster one at the studies'
    context lengths. The softmax is taken in float32.
    """
    q_len, k_len = q.shape[-2], k.shape[-2]
    dtype, q = q.dtype, q.to(k.dtype)  # those of a cache may differ
    is_fused = q.device.type != "cpu" or not torch.is_grad_enabled()
    if causal and not (is_fused and q_len == k_len):
        mask, causal = causal_mask(q_len, k_len, q.device), False
    if is_fused:
        y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal)
        return y.to(dtype)
    q = q * (1 / math.sqrt(q.shape[-1]))
    is_small = q_len == 1 and k_len <= FEW_KEYS
    scores = ((q * k).sum(-1)[..., None, :] if is_small else q @ k.transpose(-2, -1)).float()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = drop(scores.softmax(-1).to(v.dtype), dropout)
    return ((weights[..., 0, :, None] * v).sum(-2, keepdim=True) if is_small else weights @ v).to(
        dtype
    )


class RMSNorm(nn.Module):
    """`rms_norm` with its weight."""

    def __init__(self, features: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        return rms_norm(x, self.weight, self.eps)


class Cache:
    """Keys and values of tokens already read, in memory taken once for capacity tokens a row.

    Rows may differ in length: a row's next tokens are written after its own last one, over
    whatever padding stood there, and no query sees a key at a later position than its own.
    """

    def __init__(self, config: ModelConfig, batch: int, capacity: int):
        self.shape = (batch, 2 * config.n_kv, capacity, config.d_head)
        self.lengths = [0] * batch
        self.kept: list[Tensor] = []
        self.table: Rotation | None = None

    def positions(self, seq: int, device: torch.device) -> Int[Tensor, "*batch seq"]:
        """Return where each row's next seq tokens stand; rows of one length share one answer.

        Raises:
            ValueError: they go beyond the capacity.
        """
        start, capacity = max(self.lengths), self.shape[2]
        if start + seq > capacity:
            raise ValueError(f"{start + seq} tokens do not fit a cache made for {capacity}")
        if min(self.lengths) == start:
            return torch.arange(start, start + seq, device=device)
        return torch.tensor(self.lengths, device=device)[:, None] + torch.arange(seq, device=device)

    def mask(self, positions: Int[Tensor, "*batch seq"]) -> Bool[Tensor, "..."] | None:
        """Return which keys are in the past of each of positions, or nothing where all are."""
        start, seq = max(self.lengths), positions.shape[-1]
        if positions.ndim == 1 and (seq == 1 or start == 0):
            return None
        seen = torch.arange(start + seq, device=positions.device) <= positions[..., None]
        return seen if positions.ndim == 1 else seen[:, None]

    def rotation(
        self, table: Callable[[Tensor], Rotation], positions: Int[Tensor, "*batch seq"]
    ) -> Rotation:
        """Return RoPE's table at positions; it is made once, for the whole capacity."""
        if self.table is None:
            self.table = table(torch.arange(self.shape[2], device=positions.device))
        cos, sin = (each[positions] for each in self.table)
        return (cos, sin) if positions.ndim == 1 else (cos[:, None], sin[:, None])

    def of_layer(self, layer: int, like: Tensor) -> Float[Tensor, "batch twice_kv capacity d_head"]:
        """Return a layer's keys and then values, by heads; their memory is taken at first use.

        On a CPU it is float32: for one query torch's attention in bfloat16 is three times as slow.
        """
        if layer == len(self.kept):
            dtype = torch.float32 if like.device.type == "cpu" else like.dtype
            self.kept.append(like.new_zeros(self.shape, dtype=dtype))
        return self.kept[layer]

    def extend(
        self, layer: int, new: Float[Tensor, "batch twice_kv seq d_head"], places: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Keep a layer's new keys and values; return all of them up to the longest row's last.

        Places are needed where rows differ in length.
        """
        start, seq = max(self.lengths), new.shape[2]
        kept = self.of_layer(layer, new)
        if places is None:
            kept.narrow(2, start, seq).copy_(new)
        else:
            rows = torch.arange(len(new), device=new.device)[:, None]
            kept[rows, :, places] = new.transpose(1, 2).to(kept.dtype)
        return kept.narrow(2, 0, start + seq).chunk(2, dim=1)

    def advance(self, seq: int) -> None:
        """Count seq more tokens as read in each row."""
        self.lengths = [length + seq for length in self.lengths]

    def put(self, rows: list[int], other: "Cache") -> None:
        """Let rows have read what the rows of other have, in this order, and nothing else."""
        for layer, new in enumerate(other.kept):
            self.of_layer(layer, new)[rows, :, : new.shape[2]] = new
        for row, length in zip(rows, other.lengths, strict=True):
            self.lengths[row] = length

    def keep(self, rows: list[int]) -> None:
        """Forget all rows but these, which are numbered anew in this order."""
        self.shape = (len(rows), *self.shape[1:])
        self.lengths = [self.lengths[row] for row in rows]
        self.kept = [kept[rows] for kept in self.kept]


@dataclass(frozen=True)
class View:
    """What tokens may see and from where, the same for all layers; without a mask, the past."""

    mask: Bool[Tensor, "..."] | BlockMask | None = None
    rotation: Rotation | None = None
    cache: Cache | None = None
    places: Int[Tensor, "batch seq"] | None = None


PAST = View()


@dataclass(frozen=True)
class Rows:
    """Features many of which are equal: each distinct one, and which of them stands where."""

    distinct: Float[Tensor, "rows f"]
    places: Int[Tensor, "batch seq"]


def newest(x: Tensor | Rows, last: int | None) -> Float[Tensor, "batch last f"]:
    """Return the last positions of x, or all of them where their number is not given."""
    at = slice(None if last is None else -last, None)
    return F.embedding(x.places[:, at], x.distinct) if isinstance(x, Rows) else x[:, at]


class Attention(nn.Module):
    """Multi-head self-attention; head h uses rows h·d_head … of each of q, k and v.

    The three weights lie in one, in this order. With fewer heads of keys and values, each serves
    as many neighbouring query heads (Ainslie et al. 2023, 2305.13245). qk_norm is an RMSNorm of
    each head's queries and keys before they are turned (Dehghani et al. 2023, 2302.05442, there a
    LayerNorm).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.heads = (config.n_heads, config.n_kv, config.n_kv)
        self.d_head, self.dropout = config.d_head, config.dropout
        self.qkv = nn.Linear(config.d_model, sum(self.heads) * self.d_head, bias=config.bias)
        self.out = nn.Linear(config.n_heads * self.d_head, config.d_model, bias=config.bias)
        self.q_norm = RMSNorm(self.d_head, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(self.d_head, config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"] | Rows,
        view: View = PAST,
        layer: int = 0,
        last: int | None = None,
    ) -> Float[Tensor, "batch last d_model"]:
        dropout = self.dropout if self.training else 0.0
        q, k, v = self.turned(x, view, last)
        if view.cache:
            k, v = view.cache.extend(layer, torch.cat((k, v), dim=1), view.places)
        shape, n_kv = q.shape, k.shape[1]
        if isinstance(view.mask, BlockMask):
            y = attend_in_blocks(q, k, v, view.mask)
            return drop(self.out(y.transpose(1, 2).flatten(2)), dropout)
        if q.shape[2] == 1:  # heads that share keys are laid out as queries: no key is copied
            q = q.reshape(len(q), n_kv, -1, self.d_head)
        elif n_kv < q.shape[1]:
            k, v = (each.repeat_interleave(q.shape[1] // n_kv, 1) for each in (k, v))
        causal, mask = view.mask is None and shape[2] > 1, view.mask
        if mask is not None and last is not None:
            mask = mask[..., -last:, :]
        y = attend(q, k, v, mask, causal=causal, dropout=dropout).reshape(shape)
        return drop(self.out(y.transpose(1, 2).flatten(2)), dropout)

    def turned(
        self, x: Tensor | Rows, view: View = PAST, last: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries and keys as they are compared, normed and turned, and the values."""
        q, k, v = self.projected(x, last)
        q, k = self.q_norm(q), self.k_norm(k)
        if view.rotation:
            cos, sin = view.rotation
            at = slice(k.shape[2] - q.shape[2], None)
            q, k = rotate(q, cos[..., at, :], sin[..., at, :]), rotate(k, cos, sin)
        return q, k, v

    def projected(self, x: Tensor | Rows, last: int | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the heads' keys and values at every position, and the last queries or all."""

        def heads(y: Tensor, n: int) -> Tensor:
            return y.unflatten(-1, (n, self.d_head)).transpose(1, 2)

        if last is None and not isinstance(x, Rows):
            return heads(self.qkv(x), sum(self.heads)).split(self.heads, dim=1)
        sizes = (self.heads[0] * self.d_head, 2 * self.heads[1] * self.d_head)
        if isinstance(x, Rows):
            q, both = (Rows(y, x.places) for y in self.qkv(x.distinct).split(sizes, dim=-1))
            q, both = newest(q, last), newest(both, None)
        else:
            weights = self.qkv.weight.split(sizes)
            biases = (None, None) if self.qkv.bias is None else self.qkv.bias.split(sizes)
            q = F.linear(newest(x, last), weights[0], biases[0])
            both = F.linear(x, weights[1], biases[1])
        return heads(q, self.heads[0]), *heads(both, 2 * self.heads[1]).split(self.heads[1:], dim=1)


class MLP(nn.Module):
    """Two linear maps around an activation; under SwiGLU the first makes gate and value at once."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation, self.dropout = config.activation, config.dropout
        self.up = nn.Linear(config.d_model, config.d_up, bias=config.bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        y = self.down(activate(self.up(x), self.activation))
        return drop(y, self.dropout if self.training else 0.0)


class LayerScale(nn.Module):
    """Each feature times a learned number, small at first (Touvron et al. 2021, 2103.17239)."""

    def __init__(self, features: int, start: float):
        super().__init__()
        self.weight = nn.Parameter(torch.full((features,), start))

    def forward(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        return x * self.weight


def norm_of(config: ModelConfig) -> nn.Module:
    """Return a new norm over d_model of config's kind."""
    if config.norm == "layer":
        return nn.LayerNorm(config.d_model, eps=config.norm_eps, bias=config.bias)
    return RMSNorm(config.d_model, config.norm_eps) if config.norm == "rms" else nn.Identity()


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + mlp(norm(x)).

    Post-norm takes norm(x + attention(x)) instead (Vaswani et al. 2017, 1706.03762), and parallel
    x + attention(norm(x)) + mlp(norm(x)) with one norm (Wang & Komatsuzaki 2021, GPT-J).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        scale, d_model = config.layer_scale, config.d_model
        self.is_parallel, self.is_post = config.parallel, config.norm_at == "post"
        self.attention_norm = norm_of(config)
        self.attention = Attention(config)
        self.mlp_norm = nn.Identity() if config.parallel else norm_of(config)
        self.mlp = MLP(config)
        self.attention_scale = nn.Identity() if scale is None else LayerScale(d_model, scale)
        self.mlp_scale = nn.Identity() if scale is None else LayerScale(d_model, scale)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"] | Rows,
        view: View = PAST,
        layer: int = 0,
        last: int | None = None,
    ) -> Float[Tensor, "batch last d_model"]:
        kept = newest(x, last)
        if self.is_post:
            x = self.attention_norm(
                kept + self.attention_scale(self.attention(x, view, layer, last))
            )
            return self.mlp_norm(x + self.mlp_scale(self.mlp(x)))
        if isinstance(x, Rows):
            normed = Rows(self.attention_norm(x.distinct), x.places)
        else:
            normed = self.attention_norm(x)
        attended = kept + self.attention_scale(self.attention(normed, view, layer, last))
        to_mlp = newest(normed, last) if self.is_parallel else self.mlp_norm(attended)
        return attended + self.mlp_scale(self.mlp(to_mlp))


class GPT(nn.Module):
    """A decoder-only language model (Radford et al. 2019) in the shape that its config gives.

    Post-norm has no norm after the last block. The default differs from GPT-2 in three ways:
    exact GELU, positions that start at zero, and residual projections that are not scaled down.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = norm_of(config) if config.norm_at == "pre" else nn.Identity()
        if not config.tied:
            self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Draw all weights anew, as config.initialisation says; biases are zero, norms one.

        flat: N(0, 0.02), learned positions zero. gpt2: N(0, 0.02), and what each block adds to the
        stream is scaled by 1/sqrt(2 n_layers) (Radford et al. 2019). truncated: normal, cut at 3
        standard deviations, 1 for embeddings and sqrt(2/(in + out)) for each linear map (Glorot &
        Bengio 2010). zero_residual: gpt2, but blocks add nothing at first (Zhang et al. 2019,
        1901.09321).
        """
        kind = self.config.initialisation
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                if kind == "truncated":
                    self._draw_truncated(module)
                else:
                    nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        scale = {"gpt2": (2 * self.config.n_layers) ** -0.5, "zero_residual": 0.0}.get(kind, 1.0)
        for block in self.blocks:
            block.attention.out.weight.mul_(scale)
            block.mlp.down.weight.mul_(scale)
        if kind == "flat" and self.config.positions == "learned":
            nn.init.zeros_(self.position_embedding.weight)
        for p in self.parameters():
            if p.ndim > 1 and self.config.initial_scale != 1:
                p.mul_(self.config.initial_scale)

    def _draw_truncated(self, module: nn.Linear | nn.Embedding) -> None:
        for weight in self._taken_apart(module):
            std = 1.0 if isinstance(module, nn.Embedding) else math.sqrt(2 / sum(weight.shape))
            nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)

    def _taken_apart(self, module: nn.Module) -> tuple[Tensor, ...]:
        """Return a module's matrices: those that are multiplied in one product, one by one."""
        for block in self.blocks:
            if module is block.attention.qkv:
                return module.weight.split(
                    [n * block.attention.d_head for n in block.attention.heads]
                )
            if module is block.mlp.up and self.config.activation == "swiglu":
                return module.weight.chunk(2)
        return (module.weight,)

    @property
    def head_weight(self) -> Float[Tensor, "vocab d_model"]:
        """The weight that turns features into logits: the token embedding's where it is tied.

        Where logits are cosines its rows have length 1.
        """
        weight = self.token_embedding.weight if self.config.tied else self.head.weight
        return weight if self.config.head_scale is None else F.normalize(weight, dim=-1)

    def hidden(
        self,
        ids: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
        cache: Cache | None = None,
        last: int | None = None,
        blocks: BlockMask | None = None,
    ) -> Float[Tensor, "batch last d_model"]:
        """Return the normalised features that the head turns into logits.

        With documents, the number of each token's document, attention stays within a document and
        positions start anew in each, so that it is read as if it stood alone; blocks, the same
        made by `flex.blocks_within`, take the place of a mask. With a cache, ids follow what it has
        kept. Where only the last positions are wanted, the last block computes no others, and the
        first works on each token at each position once if there are fewer of these than ids.

        Raises:
            ValueError: the sequence is longer than the context, or an id is out of range.
        """
        view, positions = self.view(ids, documents, cache, blocks)
        dropout = self.config.dropout if self.training else 0.0
        is_alone = documents is None and cache is None and last is not None
        if is_alone and not dropout and len(ids) > self.config.vocab_size:
            x = self.distinct(ids)
        else:
            x = drop(self.embedded(ids, positions), dropout)
        for layer, block in enumerate(self.blocks, 1):
            x = block(x, view, layer - 1, last if layer == len(self.blocks) else None)
        if cache:
            cache.advance(ids.shape[1])
        x, scale = self.norm(x), self.config.head_scale
        return x if scale is None else F.normalize(x, dim=-1) * scale

    def embedded(self, ids: Tensor, positions: Tensor) -> Float[Tensor, "... d_model"]:
        """Return the features of tokens at positions, as the first block reads them."""
        x = self.token_embedding(ids)
        if self.config.embedding_scale != 1:
            x = x * self.config.embedding_scale
        if self.config.positions == "learned":
            x = x + self.position_embedding(positions)
        if self.config.positions == "sinusoidal":
            cos, sin = rope_table(positions, self.config.d_model, 10_000.0)
            x = x + torch.stack((sin, cos), dim=-1).flatten(-2).to(x.dtype)
        return x

    def distinct(self, ids: Int[Tensor, "batch seq"]) -> Rows:
        """Return the features of every token at every position, and where ids are among them."""
        vocab_size, positions = (
            self.config.vocab_size,
            torch.arange(ids.shape[1], device=ids.device),
        )
        every = torch.arange(vocab_size, device=ids.device).expand(len(positions), -1)
        table = self.embedded(every, positions[:, None])
        return Rows(table.flatten(0, 1), positions * vocab_size + ids)

    def view(
        self,
        ids: Tensor,
        documents: Tensor | None,
        cache: Cache | None,
        blocks: BlockMask | None,
        are_known: bool = False,
    ) -> tuple[View, Int[Tensor, "... seq"]]:
        """Return what each of ids may see, and their positions; ids that are_known go unasked."""
        seq, device = ids.shape[1], ids.device
        end = seq + (max(cache.lengths) if cache else 0)
        if end > self.config.context_length:
            raise ValueError(
                f"{end} tokens do not fit the model's context of {self.config.context_length}"
            )
        if device.type == "cpu" and not (are_known or torch.compiler.is_compiling()):
            self.require_known(ids)
        mask, places, rotation = None, None, None
        positions = torch.arange(seq, device=device)
        if cache:
            positions = cache.positions(seq, device)
            mask = cache.mask(positions)
            places = positions if positions.ndim == 2 else None
        elif documents is not None:
            positions = positions - starts(documents)
            mask = document_mask(documents) if blocks is None else blocks
        if self.config.positions == "rope":
            table = self.rotation
            rotation = cache.rotation(table, positions) if cache else table(positions)
        return View(mask, rotation, cache, places), positions

    def require_known(self, ids: Tensor) -> None:
        """Raise ValueError if an id is not in the vocabulary; a GPU would be slowed by asking."""
        if ids.is_floating_point():
            raise ValueError(f"ids are whole numbers, not {ids.dtype}: take .long() of them")
        least, most = (int(bound) for bound in ids.aminmax())
        if least < 0 or most >= self.config.vocab_size:
            wrong = least if least < 0 else most
            raise ValueError(
                f"id {wrong} is outside the vocabulary of {self.config.vocab_size}: "
                "was it made by another tokenizer?"
            )

    def rotation(self, positions: Int[Tensor, "*batch seq"]) -> Rotation:
        """Return RoPE's table at positions, to be broadcast over heads."""
        c = self.config
        cos, sin = rope_table(positions, c.d_head, c.rope_base, c.rope_stretch)
        return (cos, sin) if positions.ndim == 1 else (cos[:, None], sin[:, None])

    def forward(
        self,
        ids: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
        cache: Cache | None = None,
        last: int | None = None,
    ) -> Float[Tensor, "batch last vocab"]:
        """Return unnormalised logits for the token after each position; see `hidden`."""
        return F.linear(self.hidden(ids, documents, cache, last), self.head_weight)


def starts(documents: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """Return for each position where the run of equal numbers that it stands in began."""
    index = torch.arange(documents.shape[1], device=documents.device)
    is_first = F.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)
    return torch.where(is_first, index, 0).cummax(1).values


def document_mask(documents: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch 1 seq seq"]:
    """Return which keys each query sees: those up to its own of the same document."""
    seq, device = documents.shape[1], documents.device
    same = documents[:, :, None] == documents[:, None, :]
    return (same & causal_mask(seq, seq, device))[:, None]

"""Blocks, and the decoder that stacks them; all initialisation is in `GPT.initialise`."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmcore.model.attention import PAST, Attention, Rows, View, document_mask, newest, starts
from lmcore.model.cache import Cache, Rotation
from lmcore.model.config import ModelConfig
from lmcore.model.dropout import drop
from lmcore.model.flex import BlockMask
from lmcore.model.layers import MLP, LayerScale, norm_of
from lmcore.model.rope import rope_table


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + mlp(norm(x)).

    Post-norm takes norm(x + attention(x)) instead (Vaswani et al. 2017, 1706.03762), and parallel
    x + attention(norm(x)) + mlp(norm(x)) with one norm (Wang & Komatsuzaki 2021, GPT-J).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        scale, d_model = config.layer_scale, config.d_model
        self.is_parallel, self.is_post = config.parallel_residual, config.norm_at == "post"
        self.attention_norm = norm_of(config)
        self.attention = Attention(config)
        self.mlp_norm = nn.Identity() if config.parallel_residual else norm_of(config)
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
        if not config.tie_embeddings:
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
        weight = self.token_embedding.weight if self.config.tie_embeddings else self.head.weight
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
        cos, sin = rope_table(positions, c.d_head, c.rope_base, c.rope_scaling)
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

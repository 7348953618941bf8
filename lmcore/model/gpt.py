"""The decoder: token embedding, blocks, final norm and head."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lmcore.boundary import checked, shown
from lmcore.model.block import Block
from lmcore.model.config import ModelConfig
from lmcore.model.dropout import drop
from lmcore.model.flex import BlockMask
from lmcore.model.initialisation import initialise
from lmcore.model.kv_cache import KVCache, LayerCache
from lmcore.model.last_positions import block_outputs
from lmcore.model.masks import document_mask, document_starts
from lmcore.model.norm import build_norm
from lmcore.model.rope import RopeTable, rope_table


class GPT(nn.Module):
    """A decoder-only language model (Radford et al. 2019) in the shape that its config gives.

    Post-norm has no norm after the last block. The default differs from GPT-2 in three ways: exact
    GELU, learned positions that start at zero, and residual projections that are not scaled down.

    Example:
        model = GPT(ModelConfig(vocab_size=16_000)); logits = model(ids)
    """

    @checked
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(build_block(config) for _ in range(config.n_layers))
        norm = config.norm if config.norm_at == "pre" else "none"
        self.norm = build_norm(norm, config.d_model, config.norm_eps, config.bias)
        if not config.tie_embeddings:
            self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        initialise(self)

    def forward(
        self,
        ids: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
        cache: KVCache | None = None,
        last: int | None = None,
    ) -> Float[Tensor, "batch last vocab"]:
        """Return unnormalised logits for the token after each position; see `hidden`."""
        return F.linear(self.hidden(ids, documents, cache, last), self.head_weight)

    @property
    def head_weight(self) -> Float[Tensor, "vocab d_model"]:
        """The weight that turns features into logits; with a head_scale its rows have length 1."""
        weight = self.token_embedding.weight if self.config.tie_embeddings else self.head.weight
        return weight if self.config.head_scale is None else F.normalize(weight, dim=-1)

    def hidden(
        self,
        ids: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
        cache: KVCache | None = None,
        last: int | None = None,
        block_mask: BlockMask | None = None,
    ) -> Float[Tensor, "batch last d_model"]:
        """Return the normalised features that the head turns into logits.

        documents numbers the document of each token: attention stays within a document, and
        positions count from its start, so that each is read as if it were alone. A block_mask,
        from `document_block_mask`, takes the place of their mask. With a cache, ids follow the
        tokens it holds. last asks for the last positions only, which is faster.

        Raises:
            ValueError: the sequence is longer than the context, or an id is out of range.
        """
        if not isinstance(ids, Tensor) or ids.ndim != 2:
            raise ValueError(f"ids must be a tensor of shape (batch, seq), not {shown(ids)}")
        self.require_known(ids)
        positions = self.positions(ids, documents, cache)
        rope_table = self.rope_table(positions, cache)
        mask = self.mask(positions, documents, cache) if block_mask is None else block_mask
        if last is not None and cache is None and not isinstance(mask, BlockMask):
            return self.normalise(block_outputs(self, ids, positions, mask, rope_table, last))
        x = drop(self.embed(ids, positions), self.config.dropout if self.training else 0.0)
        for layer, block in enumerate(self.blocks):
            layer_cache = LayerCache(cache, layer, positions) if cache else None
            x = block(x, mask, rope_table=rope_table, cache=layer_cache)
        if cache:
            cache.advance(ids.shape[1])
        x = self.normalise(x)
        return x if last is None else x[:, -last:]

    def embed(
        self, ids: Int[Tensor, "*batch"], positions: Int[Tensor, "*#batch"]
    ) -> Float[Tensor, "*batch d_model"]:
        """Return the features of tokens at positions that the first block reads."""
        x = self.token_embedding(ids)
        if self.config.embedding_scale != 1:
            x = x * self.config.embedding_scale
        if self.config.positions == "learned":
            x = x + self.position_embedding(positions)
        if self.config.positions == "sinusoidal":
            cos, sin = rope_table(positions, self.config.d_model)
            x = x + torch.stack((sin, cos), dim=-1).flatten(-2).to(x.dtype)
        return x

    def normalise(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Return what the head reads of the last block's output."""
        x, scale = self.norm(x), self.config.head_scale
        return x if scale is None else F.normalize(x, dim=-1) * scale

    def positions(
        self,
        ids: Int[Tensor, "batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
        cache: KVCache | None = None,
    ) -> Int[Tensor, "*batch seq"]:
        """Return the position of each token, one-dimensional where all rows agree.

        Raises:
            ValueError: the sequence is longer than the context, or documents are not its own.
        """
        if documents is not None and documents.shape != ids.shape:
            raise ValueError(
                f"documents of shape {tuple(documents.shape)} do not number the tokens of ids of "
                f"shape {tuple(ids.shape)}"
            )
        seq = ids.shape[1]
        end = seq + (max(cache.lengths) if cache else 0)
        if end > self.config.context_length:
            raise ValueError(
                f"{end} tokens do not fit the model's context of {self.config.context_length}"
            )
        if cache:
            return cache.positions(seq, ids.device)
        positions = torch.arange(seq, device=ids.device)
        return positions if documents is None else positions - document_starts(documents)

    def mask(
        self,
        positions: Int[Tensor, "*batch seq"],
        documents: Int[Tensor, "batch seq"] | None = None,
        cache: KVCache | None = None,
    ) -> Bool[Tensor, "..."] | None:
        """Return which keys each position attends to; None: all of the past."""
        if cache:
            return cache.mask(positions)
        return None if documents is None else document_mask(documents)

    def rope_table(
        self, positions: Int[Tensor, "*batch seq"], cache: KVCache | None = None
    ) -> RopeTable | None:
        """Return RoPE's table at positions, the same for all layers; None without RoPE."""
        rope = self.config.rope
        if rope is None:
            return None
        return (
            cache.rope_table(rope, positions)
            if cache
            else rope.table(positions, self.config.d_head)
        )

    def require_known(self, ids: Tensor) -> None:
        """Raise ValueError if an id is not in the vocabulary.

        It looks only at ids on a CPU, outside compiled code: a GPU would have to wait.
        """
        if ids.device.type != "cpu" or torch.compiler.is_compiling():
            return
        if ids.is_floating_point():
            raise ValueError(f"ids must be integers, not {ids.dtype}: convert them with .long()")
        lowest, highest = (int(bound) for bound in ids.aminmax())
        if lowest < 0 or highest >= self.config.vocab_size:
            raise ValueError(
                f"id {lowest if lowest < 0 else highest} is outside the vocabulary of "
                f"{self.config.vocab_size}: does it come from another tokenizer?"
            )


def build_block(config: ModelConfig) -> Block:
    """Return a new block of the shape that config gives."""
    return Block(
        config.d_model,
        config.n_heads,
        config.d_hidden,
        config.n_kv_heads,
        d_head=config.d_head,
        activation=config.activation,
        rope=config.rope,
        norm=config.norm,
        norm_at=config.norm_at,
        norm_eps=config.norm_eps,
        qk_norm=config.qk_norm,
        parallel_residual=config.parallel_residual,
        layer_scale=config.layer_scale,
        bias=config.bias,
        dropout=config.dropout,
    )

"""A model's forward pass for one more token of each row, with nothing around its arithmetic.

Generation asks for it token by token, where modules with their hooks, and views for whatever else
a model can be asked, take a small model on a CPU as long as its products.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmcore.model.attention import Attention
from lmcore.model.block import Block, LayerScale
from lmcore.model.gpt import GPT
from lmcore.model.kv_cache import KVCache, LayerCache
from lmcore.model.mlp import MLP, activate
from lmcore.model.norm import RMSNorm, rms_norm
from lmcore.model.rope import RopeTable, rotate

Map = Callable[[Tensor], Tensor]
KNOWN = {
    GPT, Block, Attention, MLP, LayerScale, RMSNorm, nn.ModuleList, nn.Linear, nn.Embedding,
    nn.LayerNorm, nn.Identity,
}  # fmt: skip


def is_plain(model: nn.Module) -> bool:
    """Return whether model is made of the modules that `OneToken` knows, none with a hook or with
    a forward function of its own.
    """
    return all(
        type(part) in KNOWN
        and not (part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part))
        for part in model.modules()
    )


class OneToken:
    """What `GPT.hidden` computes of the next token of each row of a cache, from the same weights.

    A model that is not plain is asked itself, so that hooks are called and other modules, such as
    adapters, have their say. Products of one row take a CPU up to four times as long where what it
    reads at a stretch is the short side of a weight; by_columns such weights are copied to lie
    column after column.
    """

    def __init__(self, model: GPT, by_columns: bool = False):
        self.model, self.is_plain, self.scale = model, is_plain(model), model.config.head_scale
        if self.is_plain:
            self.layers = [Layer.of(block, by_columns) for block in model.blocks]
            self.norm = norm(model.norm)

    def hidden(self, ids: Int[Tensor, "rows"], cache: KVCache) -> Float[Tensor, "rows d_model"]:
        """Return the normalised features of ids, which follow what cache has kept."""
        if not self.is_plain:
            return self.model.hidden(ids[:, None], cache=cache)[:, -1]
        positions = self.model.positions(ids[:, None], cache=cache)
        mask = self.model.mask(positions, cache=cache)
        rope_table = self.model.rope_table(positions, cache)
        x = self.model.embed(ids, positions.flatten())
        for number, layer in enumerate(self.layers):
            x = layer(x, mask, rope_table, LayerCache(cache, number, positions))
        cache.advance(1)
        x = self.norm(x)
        return x if self.scale is None else F.normalize(x, dim=-1) * self.scale


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One block, wired as `Block` is, of functions in the place of modules."""

    is_post: bool
    is_parallel: bool
    attention_norm: Map
    attention: Callable[[Tensor, Tensor | None, RopeTable | None, LayerCache], Tensor]
    attention_scale: Map
    mlp_norm: Map
    mlp: Map
    mlp_scale: Map

    @classmethod
    def of(cls, block: Block, by_columns: bool) -> "Layer":
        """Return the layer that computes as block does."""
        return cls(
            is_post=block.norm_at == "post",
            is_parallel=block.parallel_residual,
            attention_norm=norm(block.attention_norm),
            attention=OneQuery(block.attention, by_columns),
            attention_scale=scale(block.attention_scale),
            mlp_norm=norm(block.mlp_norm),
            mlp=mlp(block.mlp, by_columns),
            mlp_scale=scale(block.mlp_scale),
        )

    def __call__(
        self,
        x: Float[Tensor, "rows d_model"],
        mask: Tensor | None,
        rope_table: RopeTable | None,
        cache: LayerCache,
    ) -> Float[Tensor, "rows d_model"]:
        if self.is_post:
            x = self.attention_norm(
                x + self.attention_scale(self.attention(x, mask, rope_table, cache))
            )
            return self.mlp_norm(x + self.mlp_scale(self.mlp(x)))
        normed = self.attention_norm(x)
        x = x + self.attention_scale(self.attention(normed, mask, rope_table, cache))
        return x + self.mlp_scale(self.mlp(normed if self.is_parallel else self.mlp_norm(x)))


class OneQuery:
    """`Attention` for a single query of each row, after the keys of a cache."""

    def __init__(self, attention: Attention, by_columns: bool):
        n_heads, n_kv, _ = attention.qkv_heads
        self.shape, self.shared = (-1, n_heads + 2 * n_kv, 1, attention.d_head), n_heads // n_kv
        self.parts = (n_heads, 2 * n_kv)
        self.qkv = linear(attention.qkv, by_columns)
        self.out = linear(attention.out, by_columns)
        self.q_norm, self.k_norm = norm(attention.q_norm), norm(attention.k_norm)
        self.turns = isinstance(attention.q_norm, RMSNorm)

    def __call__(
        self,
        x: Float[Tensor, "rows d_model"],
        mask: Tensor | None,
        rope_table: RopeTable | None,
        cache: LayerCache,
    ) -> Float[Tensor, "rows d_model"]:
        heads = self.qkv(x).view(self.shape)
        q, new = heads.narrow(1, 0, self.parts[0]), heads.narrow(1, *self.parts)
        if self.turns or rope_table:
            k, v = new.chunk(2, dim=1)
            q, k = self.q_norm(q), self.k_norm(k)
            if rope_table:
                q, k = rotate(q, *rope_table), rotate(k, *rope_table)
            new = torch.cat((k, v), dim=1)
        k, v = cache.extend(new)
        if self.shared > 1:  # heads that share keys are laid out as queries: no key is copied
            q = q.unflatten(1, (-1, self.shared)).flatten(2, 3)
        if q.dtype != k.dtype:  # that of a cache may differ
            q = q.to(k.dtype)
        y = F.scaled_dot_product_attention(q, k, v, mask).flatten(1)
        return self.out(y if y.dtype == x.dtype else y.to(x.dtype))


def linear(module: nn.Linear, by_columns: bool) -> Map:
    """Return the map of rows that module is."""
    bias, columns = module.bias, module.weight.t()
    if by_columns and columns.shape[1] > columns.shape[0]:
        columns = columns.contiguous()
    if bias is None:
        return lambda x: torch.mm(x, columns)
    return lambda x: torch.addmm(bias, x, columns)


def norm(module: nn.Module) -> Map:
    """Return the function that a norm, or the absence of one, is."""
    if isinstance(module, nn.LayerNorm):
        shape, weight, bias, eps = module.normalized_shape, module.weight, module.bias, module.eps
        return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
    if isinstance(module, RMSNorm):
        return partial(rms_norm, weight=module.weight, eps=module.eps)
    return unchanged


def scale(module: nn.Module) -> Map:
    """Return the function that a block's scale, or the absence of one, is."""
    return partial(torch.mul, module.weight) if isinstance(module, LayerScale) else unchanged


def mlp(module: MLP, by_columns: bool) -> Map:
    """Return the function that an MLP is."""
    kind, up, down = (
        module.activation,
        linear(module.up, by_columns),
        linear(module.down, by_columns),
    )
    return lambda x: down(activate(up(x), kind))


def unchanged(x: Tensor) -> Tensor:
    """Return x."""
    return x

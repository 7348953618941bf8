"""The model's forward pass for one more token of each row, reduced to its arithmetic.

Generation runs it once per token. There, on a CPU, modules, hooks and general code take a small
model as much time as its matrix products.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

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

TensorFunction = Callable[[Tensor], Tensor]
STANDARD_MODULES = {
    GPT, Block, Attention, MLP, LayerScale, RMSNorm, nn.ModuleList, nn.Linear, nn.Embedding,
    nn.LayerNorm, nn.Identity,
}  # fmt: skip


def is_standard(model: nn.Module) -> bool:
    """Return whether model has only STANDARD_MODULES, without hooks or replaced forwards."""
    return all(
        type(module) in STANDARD_MODULES
        and not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
        for module in model.modules()
    )


class DecodeStep:
    """Computes `GPT.hidden` for the next token of each row of a cache, with the same weights.

    A model that is not standard is called itself, so that hooks and other modules, such as
    adapters, take effect. With transpose_tall, weights with more outputs than inputs are copied in
    transposed layout, which makes their products of one row up to four times as fast on a CPU.
    """

    def __init__(self, model: GPT, transpose_tall: bool = False):
        self.model, self.head_scale = model, model.config.head_scale
        self.is_standard = is_standard(model)
        if self.is_standard:
            self.layers = [
                DecodeLayer.of(cast(Block, block), transpose_tall) for block in model.blocks
            ]
            self.norm = norm_function(model.norm)

    def hidden(self, ids: Int[Tensor, "rows"], cache: KVCache) -> Float[Tensor, "rows d_model"]:
        """Return the normalised features of ids, which follow the tokens in cache."""
        if not self.is_standard:
            return self.model.hidden(ids[:, None], cache=cache)[:, -1]
        positions = self.model.positions(ids[:, None], cache=cache)
        mask = self.model.mask(positions, cache=cache)
        rope_table = self.model.rope_table(positions, cache)
        x = self.model.embed(ids, positions.flatten())
        for number, layer in enumerate(self.layers):
            x = layer(x, mask, rope_table, LayerCache(cache, number, positions))
        cache.advance(1)
        x = self.norm(x)
        return x if self.head_scale is None else F.normalize(x, dim=-1) * self.head_scale


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeLayer:
    """One `Block` with functions in place of its modules."""

    is_post: bool
    is_parallel: bool
    attention_norm: TensorFunction
    attention: Callable[[Tensor, Tensor | None, RopeTable | None, LayerCache], Tensor]
    attention_scale: TensorFunction
    mlp_norm: TensorFunction
    mlp: TensorFunction
    mlp_scale: TensorFunction

    @classmethod
    def of(cls, block: Block, transpose_tall: bool) -> "DecodeLayer":
        """Return the layer that computes what block does."""
        return cls(
            is_post=block.norm_at == "post",
            is_parallel=block.parallel_residual,
            attention_norm=norm_function(block.attention_norm),
            attention=DecodeAttention(block.attention, transpose_tall),
            attention_scale=scale_function(block.attention_scale),
            mlp_norm=norm_function(block.mlp_norm),
            mlp=mlp_function(block.mlp, transpose_tall),
            mlp_scale=scale_function(block.mlp_scale),
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


class DecodeAttention:
    """`Attention` for one query of each row, on the keys and values of a cache."""

    def __init__(self, attention: Attention, transpose_tall: bool):
        n_heads, n_kv, _ = attention.qkv_heads
        self.qkv_shape = (-1, n_heads + 2 * n_kv, 1, attention.d_head)
        self.n_heads, self.n_kv, self.group = n_heads, n_kv, n_heads // n_kv
        self.qkv = linear_function(attention.qkv, transpose_tall)
        self.out = linear_function(attention.out, transpose_tall)
        self.q_norm, self.k_norm = norm_function(attention.q_norm), norm_function(attention.k_norm)
        self.has_qk_norm = isinstance(attention.q_norm, RMSNorm)

    def __call__(
        self,
        x: Float[Tensor, "rows d_model"],
        mask: Tensor | None,
        rope_table: RopeTable | None,
        cache: LayerCache,
    ) -> Float[Tensor, "rows d_model"]:
        heads = self.qkv(x).view(self.qkv_shape)
        q, new = heads.split_with_sizes((self.n_heads, 2 * self.n_kv), dim=1)
        if self.has_qk_norm or rope_table:
            k, v = new.chunk(2, dim=1)
            q, k = self.q_norm(q), self.k_norm(k)
            if rope_table:
                q, k = rotate(q, *rope_table), rotate(k, *rope_table)
            new = torch.cat((k, v), dim=1)
        k, v = cache.extend(new)
        if self.group > 1:  # heads that share keys become queries of one head: no key is copied
            q = q.unflatten(1, (-1, self.group)).flatten(2, 3)
        if q.dtype != k.dtype:  # on a CPU the cache is float32
            q = q.to(k.dtype)
        y = F.scaled_dot_product_attention(q, k, v, mask).flatten(1)
        return self.out(y if y.dtype == x.dtype else y.to(x.dtype))


def linear_function(module: nn.Linear, transpose_tall: bool) -> TensorFunction:
    """Return module as a function of rows."""
    bias, weight = module.bias, module.weight.t()
    if transpose_tall and module.out_features > module.in_features:
        weight = weight.contiguous()
    if bias is None:
        return lambda x: torch.mm(x, weight)
    return lambda x: torch.addmm(bias, x, weight)


def norm_function(module: nn.Module) -> TensorFunction:
    """Return a norm, or the identity in place of one, as a function."""
    if isinstance(module, nn.LayerNorm):
        shape, weight, bias, eps = module.normalized_shape, module.weight, module.bias, module.eps
        return lambda x: torch.layer_norm(x, shape, weight, bias, eps)
    if isinstance(module, RMSNorm):
        return partial(rms_norm, weight=module.weight, eps=module.eps)
    return unchanged


def scale_function(module: nn.Module) -> TensorFunction:
    """Return a layer scale, or the identity in place of one, as a function."""
    return partial(torch.mul, module.weight) if isinstance(module, LayerScale) else unchanged


def mlp_function(module: MLP, transpose_tall: bool) -> TensorFunction:
    """Return module as a function of rows."""
    up, down = (
        linear_function(module.up, transpose_tall),
        linear_function(module.down, transpose_tall),
    )
    return lambda x: down(activate(up(x), module.activation))


def unchanged(x: Tensor) -> Tensor:
    """Return x."""
    return x

"""The decoder and its blocks; every block works alone, from plain numbers.

`Linear`, `Embedding`, `silu` and `softmax` are torch's own.
"""

from torch.nn import Embedding, Linear
from torch.nn.functional import silu, softmax

from lmcore.model.attention import Attention
from lmcore.model.block import Block, LayerScale
from lmcore.model.config import ModelConfig
from lmcore.model.cross_entropy import cross_entropy
from lmcore.model.dot_product import attend
from lmcore.model.gpt import GPT
from lmcore.model.kv_cache import KVCache
from lmcore.model.masks import causal_mask, document_mask
from lmcore.model.mlp import MLP, activate, swiglu_hidden_size
from lmcore.model.norm import RMSNorm, rms_norm
from lmcore.model.rope import RoPE, RopeScaling, rope_table, rotate

__all__ = [
    "GPT",
    "MLP",
    "Attention",
    "Block",
    "Embedding",
    "KVCache",
    "LayerScale",
    "Linear",
    "ModelConfig",
    "RMSNorm",
    "RoPE",
    "RopeScaling",
    "activate",
    "attend",
    "causal_mask",
    "cross_entropy",
    "document_mask",
    "rms_norm",
    "rope_table",
    "rotate",
    "silu",
    "softmax",
    "swiglu_hidden_size",
]

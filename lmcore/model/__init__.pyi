from .attention import Attention
from .block import Block, LayerScale
from .config import ModelConfig
from .dot_product import attend
from .gpt import GPT
from .kv_cache import KVCache
from .masks import causal_mask, document_mask
from .mlp import MLP, activate, swiglu_hidden_size
from .norm import RMSNorm, rms_norm
from .rope import RoPE, RopeScaling, rope_table, rotate
from .torch_blocks import Embedding, Linear, cross_entropy, silu, softmax

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

"""Small language models from scratch: tokenizer, model, optimizer, training, generation."""

from lmcore.bpe import train_bpe
from lmcore.model import GPT, ModelConfig
from lmcore.sample import Sampling, generate, write
from lmcore.tokenizer import Tokenizer
from lmcore.train import Runtime, TrainConfig, train

__all__ = [
    "GPT", "ModelConfig", "Runtime", "Sampling", "Tokenizer", "TrainConfig", "generate", "train",
    "train_bpe", "write",
]  # fmt: skip

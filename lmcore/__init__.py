"""Small language models from scratch: tokenizer, model, optimizer, training, generation."""

from lmcore.bpe import train_bpe
from lmcore.model import GPT, ModelConfig
from lmcore.optimizer import AdamW
from lmcore.runtime import Runtime
from lmcore.sample import Sampling, generate, write
from lmcore.source import TextSource
from lmcore.tokenizer import Tokenizer
from lmcore.tokens import Batches, tokens_of_file
from lmcore.train import TrainConfig, train

__all__ = [
    "GPT", "AdamW", "Batches", "ModelConfig", "Runtime", "Sampling", "TextSource", "Tokenizer",
    "TrainConfig", "generate", "tokens_of_file", "train", "train_bpe", "write",
]  # fmt: skip

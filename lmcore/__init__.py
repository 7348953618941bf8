"""Small language models from scratch: tokenizer, model, optimizer, training, generation.

A name brings its module along when it is first asked for, so that tokenizers need not wait for
torch, nor hold it in memory.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

HOMES = {
    "GPT": "model.gpt", "AdamW": "training.optimizer", "Batches": "data.batches", "ModelConfig": "model.config",
    "Runtime": "training.runtime", "Sampling": "generation.sampling", "TextSource": "tasks.text", "Tokenizer": "tokenizer.byte_bpe",
    "TrainConfig": "training.config", "generate": "generation.generate", "tokens_of_file": "data.token_files", "train": "training.loop",
    "train_bpe": "tokenizer.bpe", "write": "generation.generate",
}  # fmt: skip
__all__ = list(HOMES)


class Package(ModuleType):
    """A package whose attributes are the names of HOMES."""

    def __getattr__(self, name: str) -> Any:
        if name not in HOMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{self.__name__}.{HOMES[name]}"), name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *HOMES})


sys.modules[__name__].__class__ = Package

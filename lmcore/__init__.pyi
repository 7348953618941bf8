from .data.batches import Batches
from .data.token_files import tokens_of_file
from .generation.generate import generate, stream_text
from .generation.language_model import LanguageModel
from .generation.sampling import Sampling
from .generation.saved_model import load, save
from .model.config import ModelConfig
from .model.gpt import GPT
from .tasks.text import TextTask
from .tokenizer.bpe import train_bpe
from .tokenizer.byte_bpe import Tokenizer
from .training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from .training.loop import train
from .training.optimizer import AdamW
from .training.runtime import Runtime

__all__ = [
    "GPT",
    "AdamW",
    "Batches",
    "EvaluationConfig",
    "LanguageModel",
    "ModelConfig",
    "OptimizerConfig",
    "Runtime",
    "Sampling",
    "ScheduleConfig",
    "TextTask",
    "Tokenizer",
    "TrainConfig",
    "generate",
    "load",
    "save",
    "stream_text",
    "tokens_of_file",
    "train",
    "train_bpe",
]

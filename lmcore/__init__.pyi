from .data.batches import Batches, get_batch
from .data.datasets import DatasetBatches, IterableBatches
from .data.token_files import tokens_of_file
from .experiments.text_config import text_run
from .experiments.text_run import train_text
from .generation.generate import generate, stream_text
from .generation.language_model import LanguageModel
from .generation.sampling import Sampling
from .generation.saved_model import load, save
from .model.attention import Attention
from .model.block import Block
from .model.config import ModelConfig
from .model.gpt import GPT
from .model.mlp import MLP
from .model.norm import RMSNorm
from .model.rope import RoPE, rope_table, rotate
from .report.learning_curves import learning_curves
from .tasks.prepared_text import PrepareConfig, load_prepared, prepare
from .tasks.rows import RowsTask
from .tasks.text import TextTask
from .tokenizer.bpe import train_bpe
from .tokenizer.byte_bpe import Tokenizer
from .training.adamw import AdamW
from .training.checkpoint import load_checkpoint, save_checkpoint
from .training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from .training.loop import train
from .training.runtime import Runtime

__all__ = [
    "GPT",
    "MLP",
    "AdamW",
    "Attention",
    "Batches",
    "Block",
    "DatasetBatches",
    "EvaluationConfig",
    "IterableBatches",
    "LanguageModel",
    "ModelConfig",
    "OptimizerConfig",
    "PrepareConfig",
    "RMSNorm",
    "RoPE",
    "RowsTask",
    "Runtime",
    "Sampling",
    "ScheduleConfig",
    "TextTask",
    "Tokenizer",
    "TrainConfig",
    "generate",
    "get_batch",
    "learning_curves",
    "load",
    "load_checkpoint",
    "load_prepared",
    "prepare",
    "rope_table",
    "rotate",
    "save",
    "save_checkpoint",
    "stream_text",
    "text_run",
    "tokens_of_file",
    "train",
    "train_bpe",
    "train_text",
]

"""What does a small GPT learn from 90,000 headlines with plain SGD?

Hypothesis: little beyond how often each token occurs; at a learning rate of 6e-3 and with the
gradient clipped, the steps of seven epochs cannot move the weights far from where they start.

Scientific hyperparameters: none, this is the baseline that later studies change one at a time.
Nuisance hyperparameters: the seed of weights and dropout.
Fixed hyperparameters: data, split, tokenizer, shape, optimizer, schedule, epochs.
"""

from dataclasses import replace

from lmcore.config import with_fields
from lmcore.experiments.experiment import Experiment
from lmcore.model.config import ModelConfig
from lmcore.tasks.titles import TitlesConfig
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig

SEEDS = (1337, 1338, 1339)
CHALLENGE = TrainConfig(
    batch_size=64,
    order="sequential",
    epochs=7,
    optimizer=OptimizerConfig(kind="sgd", lr=6e-3, weight_decay=0.0),
    schedule=ScheduleConfig(kind="cosine"),
    evaluation=EvaluationConfig(eval_at=(1, 44, 132, 264, 440, 616, 792)),
)
"""The training of the challenge's baseline."""
BASELINE = Experiment(
    study="baseline",
    name="sgd",
    seed=SEEDS[0],
    task=TitlesConfig(),
    model=ModelConfig(vocab_size=16_000, d_ff=2048),
    train=CHALLENGE,
)
KNOWN_ENTROPY = Experiment(
    study="baseline",
    name="known-entropy",
    seed=SEEDS[0],
    task=TitlesConfig(source="generated", n_titles=20_000, n_test_titles=2_000, vocab_size=512),
    model=ModelConfig(
        vocab_size=512, context_length=32, d_model=64, n_layers=2, n_heads=2, d_ff=256, dropout=0.0
    ),
    train=with_fields(
        CHALLENGE,
        {
            "batch_size": 16,
            "epochs": 4,
            "lr": 2.0,
            "eval_at": (1, 10, 30, 60, 100, 150, 200, 400, 600, 800),
        },
    ),
)
"""The same code on titles whose entropy is known, tuned on its own validation titles."""


def all_experiments(seeds: tuple[int, ...] = SEEDS) -> list[Experiment]:
    """Return the baseline with each of these seeds, and the check on known entropy.

    The first seed is the challenge's.
    """
    headlines = [replace(BASELINE, seed=seed) for seed in seeds]
    return headlines + [replace(KNOWN_ENTROPY, seed=seed) for seed in SEEDS]

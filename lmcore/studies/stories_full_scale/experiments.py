"""How low does a model of 20 million parameters get on all of TinyStories?

Hypothesis: with 327.68 million tokens the validation loss ends below 1.45 nats per token, the goal
that the course assignment from which this configuration comes sets.

One experiment, ready for one GPU; it takes days on a CPU. It needs the data set from the hub, so
LMCORE_DATA must not be set.

Scientific hyperparameters: none.
Nuisance hyperparameters: the learning rate, not tuned; the seed.
Fixed hyperparameters: everything else.
"""

from dataclasses import replace

from lmcore.experiments.experiment import Experiment, seeded
from lmcore.studies.stories.experiments import LOG, SEEDS
from lmcore.tasks.stories import StoriesConfig
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig

FULL_SCALE = replace(
    LOG,
    study="stories_full_scale",
    name="full-scale",
    task=StoriesConfig(n_validation_stories=5_000, n_test_stories=5_000),
    model=replace(
        LOG.model, d_model=512, n_heads=16, d_ff=1344, tie_embeddings=False,
        initialisation="truncated",
    ),
    train=TrainConfig(
        batch_size=128,
        n_tokens=327_680_000,
        optimizer=OptimizerConfig(lr=2e-3, weight_decay=0.1),
        schedule=ScheduleConfig(warmup_steps=500, min_lr_ratio=0.1),
        evaluation=EvaluationConfig(log_every=10, eval_every=1_000, keep_weights=True),
    ),
)  # fmt: skip
"""The configuration of Stanford's CS336, assignment 1, with this package's RoPE base of 10,000."""


def all_experiments() -> list[Experiment]:
    """Return the configuration with three seeds."""
    return seeded([FULL_SCALE], SEEDS)

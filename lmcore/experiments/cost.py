"""What experiments will cost, before they start."""

from lmcore.experiments.experiment import (
    Experiment,
    flops_per_step,
    prepared,
    steps_of,
    task_of,
)
from lmcore.tasks.titles import TitlesConfig
from lmcore.training.runtime import Runtime

TOKENS_PER_TITLE = 12.8
USUAL_EFFICIENCY = 0.7
"""Speed of this package's training steps on a CPU, as a share of a large matrix product's."""


def cost(experiments: list[Experiment], runtime: Runtime) -> str:
    """Return one sentence: runs, operations, and minutes at the measured speed of this device."""
    flops = sum(expected_steps(e) * flops_per_step(e) for e in experiments)
    resolved = runtime.resolve(flops / len(experiments))
    speed = resolved.product_speed()
    minutes = flops / speed / USUAL_EFFICIENCY / 60
    return (
        f"{len(experiments)} runs, {flops:.2g} floating-point operations: about {minutes:,.1f} "
        f"minutes on {resolved.device} in {resolved.precision} "
        f"({speed / 1e9:,.0f} GFLOP/s measured)"
    )


def expected_steps(experiment: Experiment) -> int:
    """Return the number of steps of experiment.

    For epochs of titles it is an estimate from their usual length, since the text may not be
    there yet. For all other data it is exact.
    """
    plan, task = experiment.train, experiment.task
    tokens_per_step = plan.batch_size * experiment.model.context_length
    if plan.epochs is None:
        return plan.steps or (plan.n_tokens or 0) // tokens_per_step
    if isinstance(task, TitlesConfig):
        n_tokens = task.n_train_titles * TOKENS_PER_TITLE
        return max(1, int(plan.epochs * n_tokens / tokens_per_step))
    corpus = prepared(experiment, experiment.root / ".cache/corpus")
    return steps_of(experiment, task_of(experiment, corpus))

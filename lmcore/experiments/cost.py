"""What experiments will take, before they start."""

from lmcore.experiments.experiment import Experiment, flops_per_step
from lmcore.training.runtime import Runtime

TOKENS_PER_TITLE = 12.8
USUAL_EFFICIENCY = 0.7
"""The share of a large product's speed that training steps of this package reach on a CPU."""


def cost(experiments: list[Experiment], runtime: Runtime) -> str:
    """Return one sentence on what experiments will take, from a product measured on this device.

    Titles stand for their usual length of tokens, since the text may not be fetched yet.
    """
    flops = sum(usual_steps(e) * flops_per_step(e) for e in experiments)
    resolved = runtime.resolve(flops / len(experiments))
    speed = resolved.product_speed()
    minutes = flops / speed / USUAL_EFFICIENCY / 60
    return (
        f"{len(experiments)} runs, {flops:.2g} floating-point operations: about {minutes:,.1f} "
        f"minutes on {resolved.device} in {resolved.precision} "
        f"({speed / 1e9:,.0f} GFLOP/s measured)"
    )


def usual_steps(experiment: Experiment) -> int:
    """Return about how many steps experiment takes on titles of the usual length."""
    plan = experiment.train
    if plan.epochs is not None:
        per_step = plan.batch_size * experiment.model.context_length
        n_tokens = experiment.task.n_train_titles * TOKENS_PER_TITLE
        return max(1, int(plan.epochs * n_tokens / per_step))
    return plan.steps or plan.n_tokens // (plan.batch_size * experiment.model.context_length)

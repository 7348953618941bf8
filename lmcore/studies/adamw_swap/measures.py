"""Numbers read from runs: tuned losses, differences and update sizes."""

from collections.abc import Sequence

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import select
from lmcore.studies.adamw_swap.experiments import NAMES, OPTIMIZERS
from lmcore.studies.headlines.measures import mean_loss, paired_losses


def tuned_loss(runs: Sequence[Run], name: str, lr: float) -> float:
    """Return an optimizer's mean final loss at a learning rate, over the tuning seeds."""
    return mean_loss(select(runs, f"tune-{slug(name)}-lr{lr:g}"))


def best_rate(runs: Sequence[Run], name: str) -> float:
    """Return the learning rate with the lowest mean final loss of an optimizer."""
    return min(OPTIMIZERS[name].rates, key=lambda lr: tuned_loss(runs, name, lr))


def differences(runs: Sequence[Run], name: str) -> list[float]:
    """Return for each seed the final loss of an ablation minus that of AdamW as tuned."""
    pairs = paired_losses(select(runs, f"ablation-{slug(name)}"), select(runs, NAMES["AdamW"]))
    return [changed - tuned for changed, tuned in pairs]


def large_loss(runs: Sequence[Run], name: str, lr: float) -> float:
    """Return an optimizer's final loss at a learning rate, at the baseline's size."""
    return mean_loss(select(runs, f"large-tune-{slug(name)}-lr{lr:g}"))


def update_ratio_of(role: str) -> plotting.Quantity:
    """Return a function of a record: the update ratio of a role's parameters, or None if zero."""
    return lambda record: record.get("update_ratios", {}).get(role) or None

"""Numbers read from runs: tuned losses, differences and update sizes."""

from collections.abc import Sequence

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report import plotting
from lmcore.report.tables import select
from lmcore.studies.adamw_swap.experiments import NAMES, OPTIMIZERS
from lmcore.studies.headlines.measures import mean_loss, paired_losses


def tuned_loss(runs: Sequence[Run], name: str, lr: float) -> float:
    """Return the mean loss of an optimizer at a learning rate, over the seeds of the tuning."""
    return mean_loss(select(runs, f"tune-{slug(name)}-lr{lr:g}"))


def best_rate(runs: Sequence[Run], name: str) -> float:
    """Return the learning rate at which an optimizer ended lowest."""
    return min(OPTIMIZERS[name].rates, key=lambda lr: tuned_loss(runs, name, lr))


def differences(runs: Sequence[Run], name: str) -> list[float]:
    """Return how much higher an ablation ends than AdamW as tuned, seed by seed."""
    pairs = paired_losses(select(runs, f"ablation-{slug(name)}"), select(runs, NAMES["AdamW"]))
    return [changed - tuned for changed, tuned in pairs]


def large_loss(runs: Sequence[Run], name: str, lr: float) -> float:
    """Return the loss of an optimizer tuned at the baseline's size, at a learning rate."""
    return mean_loss(select(runs, f"large-tune-{slug(name)}-lr{lr:g}"))


def update_ratio_of(role: str) -> plotting.Quantity:
    """Return what reads off a record how far the parameters of a role went, if they moved."""
    return lambda record: record.get("update_ratios", {}).get(role) or None

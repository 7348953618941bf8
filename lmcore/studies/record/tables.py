"""Tables of the ladder."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Table, mean_sd, select
from lmcore.studies.headlines.measures import final_loss, mean_loss, paired_losses
from lmcore.studies.headlines.tables import steps_table
from lmcore.studies.record.experiments import (
    GIVEN,
    LADDER,
    RATES,
    RECORD,
    SEEDS,
    tuning_name,
)


def best_rate(runs: Sequence[Run], name: str) -> float:
    """Return the learning rate at which a rung ended lowest on the tuning seed."""
    return min(RATES[name], key=lambda lr: mean_loss(select(runs, tuning_name(name, lr))))


def climbed(name: str) -> list[str]:
    """Return the rungs from the baseline up to the one called name."""
    return [GIVEN.name] if name == GIVEN.name else [*climbed(LADDER[name].base), name]


def verdict(name: str, n_seeds: int) -> str:
    """Return whether a rung was kept or dropped, or is open because it has too few seeds."""
    if n_seeds < len(SEEDS):
        return "open"
    return "kept" if name in climbed(RECORD) else "dropped"


def findings(runs: Sequence[Run]) -> Table:
    """Return the scores of the rungs up to the highest, with the runs they come from."""
    return steps_table("record, on the proxy", {name: name for name in climbed(RECORD)}, runs)


def rung_table(runs: Sequence[Run]) -> Table:
    """Return what each rung reached, its ratio to the baseline, and its change seed by seed."""
    first = select(runs, GIVEN.name)
    losses = mean_sd([final_loss(run) for run in first], 4)
    rows = [(GIVEN.name, "", losses, "1.0000", "", str(len(first)), "")]
    for name, step in LADDER.items():
        group = select(runs, name)
        if group:
            ratios = [ours / theirs for ours, theirs in paired_losses(group, first)]
            pairs = paired_losses(group, select(runs, step.base))
            changes = [ours - theirs for ours, theirs in pairs]
            n = len(group)
            losses = mean_sd([final_loss(run) for run in group], 4)
            effect = (mean_sd(ratios, 4), mean_sd(changes, 4), str(n), verdict(name, n))
            rows.append((name, step.base, losses, *effect))
    header = ("rung", "made on", "validation, nats/character", "ratio", "change", "seeds", "")
    return Table(header, tuple(rows))

"""Tables of the AdamW swap."""

from collections.abc import Sequence

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Table, mean_sd, nats_per_character_of, number, select
from lmcore.studies.adamw_swap.experiments import ABLATIONS, LARGE_RATES, NAMES, OPTIMIZERS
from lmcore.studies.adamw_swap.measures import differences, large_loss
from lmcore.studies.headlines.measures import end_share, final_loss
from lmcore.studies.headlines.tables import steps_table


def findings(runs: Sequence[Run]) -> Table:
    """Return the scores of each step, with the runs they come from."""
    return steps_table("AdamW swap", NAMES, runs)


def large_rates_table(runs: Sequence[Run]) -> Table:
    """Return the final loss at each learning rate tried at the baseline's size."""
    rows = [
        (name, f"{lr:g}", mean_sd([large_loss(runs, name, lr)], 3))
        for name, rates in LARGE_RATES.items()
        for lr in rates
    ]
    return Table(("optimizer", "lr", "validation"), tuple(rows))


def optimizer_table(runs: Sequence[Run]) -> Table:
    """Return the settings, scores, time and memory of each optimizer."""
    rows = []
    for shown, name in NAMES.items():
        group = select(runs, name)
        plan = group[0].config.train
        tried = OPTIMIZERS[shown].rates if shown in OPTIMIZERS else ()
        rows.append(
            (
                shown,
                number(plan.optimizer.lr, "g"),
                f"{tried[0]:g} to {tried[-1]:g}" if tried else "not tuned",
                mean_sd([final_loss(run) for run in group], 3),
                mean_sd([nats_per_character_of("test")(run.outcome) for run in group], 3),
                mean_sd([end_share(run.records[-1]) for run in group], 2),
                mean_sd([run.environment["cpu_s"] for run in group], 0),
                str(plan.optimizer.moments),
            )
        )
    header = (
        "optimizer", "lr", "tried", "validation", "test", "<eos> likeliest", "seconds",
        "kept per weight",
    )  # fmt: skip
    return Table(header, tuple(rows))


def ablation_table(runs: Sequence[Run]) -> Table:
    """Return the final loss of AdamW as tuned and of each single change."""
    tuned = mean_sd([final_loss(run) for run in select(runs, NAMES["AdamW"])], 4)
    rows = [("nothing", tuned, "")]
    for shown in ABLATIONS:
        group = select(runs, f"ablation-{slug(shown)}")
        rows.append(
            (
                shown,
                mean_sd([final_loss(run) for run in group], 4),
                mean_sd(differences(runs, shown), 4),
            )
        )
    header = ("changed", "validation, nats/character", "higher by, seed by seed")
    return Table(header, tuple(rows))

"""Tables that studies of headlines share: what each step gained."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Table, link_to_runs, mean_sd, number, select
from lmcore.studies.headlines.measures import final_loss, final_score, paired_losses

SCORE_COLUMNS = ("challenge", "coverage", "nats/character", "bits/byte", "ratio")


def score_cells(runs: Sequence[Run], first: Sequence[Run]) -> tuple[str, ...]:
    """Return the challenge's number, its coverage, the loss in two units, and its ratio to first.

    Ratios compare runs of the same seed.
    """
    return (
        mean_sd([final_score(run, "challenge", "nats_per_character") for run in runs], 3),
        mean_sd([final_score(run, "challenge", "coverage") for run in runs], 4),
        mean_sd([final_loss(run) for run in runs], 3),
        mean_sd([final_score(run, "validation", "bpb") for run in runs], 3),
        mean_sd([ours / theirs for ours, theirs in paired_losses(runs, first)], 3),
    )


def steps_table(study: str, names: dict[str, str], runs: Sequence[Run]) -> Table:
    """Return the scores of a study's experiments, by the names in names, linked to their runs.

    Ratios are to the first of them.
    """
    groups = {shown: select(runs, name) for shown, name in names.items()}
    first = next(iter(groups.values()))
    rows = tuple(
        (link_to_runs(shown, group), *score_cells(group, first)) for shown, group in groups.items()
    )
    return Table((study, *SCORE_COLUMNS), rows)


LADDER: dict[str, tuple[tuple[str, str], tuple[float, float] | None]] = {
    "SGD, the baseline": (("baseline", "sgd"), (1.753, 1.856)),
    "SGD, its rate tuned": (("adamw_swap", "large-sgd-lr1"), None),
    "AdamW": (("adamw_swap", "large-adamw-lr0.001"), (1.324, 1.401)),
    "RoPE, RMSNorm, vocabulary of 32k": (("rope_and_vocab", "large-recipe"), (1.252, 1.314)),
}
"""The steps at the baseline's size: study and name of our runs, and published values of the step on
other titles, as the challenge counts and corrected to every token."""
BEST_PUBLISHED = (1.1416, 1.175)
"""The best public entry we know of, in the same two numbers and on the same titles."""


def lower(runs: Sequence[Run], others: Sequence[Run], digits: int = 1) -> str:
    """Return by how many percent the losses of runs are below those of others, seed by seed."""
    pairs = paired_losses(runs, others)
    return mean_sd([100 * (1 - ours / theirs) for ours, theirs in pairs], digits, " %")


def ladder_groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each step at the baseline's size, by its name; a step may have none."""
    return {
        shown: [run for run in runs if (run.config.study, run.config.name) == where]
        for shown, (where, _) in LADDER.items()
    }


def ladder(runs: Sequence[Run]) -> Table:
    """Return the scores of each step at the baseline's size, linked to its runs.

    Published values of the same step stand in the last columns. A step without runs is left out.
    """
    groups, rows = ladder_groups(runs), []
    first = next(iter(groups.values()))
    _, start = next(iter(LADDER.values()))
    for shown, group in groups.items():
        _, known = LADDER[shown]
        published = (
            ("", "")
            if known is None
            else (number(known[0], ".3f"), number(known[1] / start[1], ".3f"))
        )
        if group:
            named = link_to_runs(shown, group)
            rows.append((named, *score_cells(group, first), number(len(group)), *published))
    header = (
        "baseline's size", *SCORE_COLUMNS, "seeds", "published challenge", "published ratio"
    )  # fmt: skip
    return Table(header, tuple(rows))

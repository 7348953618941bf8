"""Tables that studies of headlines share: what each step gained."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Table, mean_sd, number, select
from lmcore.studies.headlines.measures import final_loss, final_score, paired_losses


def commits(runs: Sequence[Run]) -> str:
    """Return the short hashes of the commits that made runs."""
    hashes = {session["commit"][:7] for run in runs for session in run.environment["sessions"]}
    return ", ".join(sorted(hashes))


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
    """Return the scores of a study's experiments, by the names in names, with runs and commits.

    Ratios are to the first of them.
    """
    groups = {shown: select(runs, name) for shown, name in names.items()}
    first = next(iter(groups.values()))
    rows = tuple(
        (shown, *score_cells(group, first), names[shown], commits(group))
        for shown, group in groups.items()
    )
    return Table((study, *SCORE_COLUMNS, "runs", "commit"), rows)


LADDER: dict[str, tuple[tuple[str, str], tuple[float, float] | None]] = {
    "SGD, the baseline": (("baseline", "sgd"), (1.753, 1.856)),
    "SGD, its rate tuned": (("adamw_swap", "large-sgd-lr1"), None),
    "AdamW": (("adamw_swap", "large-adamw-lr0.001"), (1.324, 1.401)),
    "RoPE, RMSNorm, vocabulary of 32k": (("rope_and_vocab", "large-recipe"), (1.252, 1.314)),
}
"""The steps at the baseline's size: study and name of our runs, and published values of the step on
other titles, as the challenge counts and corrected to every token."""


def ladder(runs: Sequence[Run]) -> Table:
    """Return the scores of each step at the baseline's size, with published values.

    A step without runs is left out.
    """
    groups = {
        shown: [run for run in runs if (run.config.study, run.config.name) == where]
        for shown, (where, _) in LADDER.items()
    }
    first, rows = next(iter(groups.values())), []
    _, start = next(iter(LADDER.values()))
    for shown, group in groups.items():
        where, known = LADDER[shown]
        published = (
            ("", "")
            if known is None
            else (number(known[0], ".3f"), number(known[1] / start[1], ".3f"))
        )
        if group:
            seeds, source = number(len(group)), ("/".join(where), commits(group))
            rows.append((shown, *score_cells(group, first), seeds, *published, *source))
    header = (
        "baseline's size", *SCORE_COLUMNS, "seeds", "published challenge", "published ratio",
        "runs", "commit",
    )  # fmt: skip
    return Table(header, tuple(rows))

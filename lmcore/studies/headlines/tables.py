"""Tables that studies of headlines share: what each step gained."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import (
    Table,
    mean_sd,
    number,
    select,
)
from lmcore.studies.headlines.measures import beside, last, loss


def commits(runs: Sequence[Run]) -> str:
    """Return, shortened, the commits whose code made runs."""
    found = {each["commit"][:7] for run in runs for each in run.environment["sessions"]}
    return ", ".join(sorted(found))


SCORED = ("challenge", "coverage", "nats/character", "bits/byte", "ratio")


def scored(runs: Sequence[Run], first: Sequence[Run]) -> tuple[str, ...]:
    """Return the challenge's number, its coverage, the loss in two units, and its ratio to first's.

    The ratio is taken seed by seed.
    """
    return (
        mean_sd([last(run, "challenge", "nats_per_character") for run in runs], 3),
        mean_sd([last(run, "challenge", "coverage") for run in runs], 4),
        mean_sd([loss(run) for run in runs], 3),
        mean_sd([last(run, "validation", "bpb") for run in runs], 3),
        mean_sd([ours / theirs for ours, theirs in beside(runs, first)], 3),
    )


def gained(study: str, names: dict[str, str], runs: Sequence[Run]) -> Table:
    """Return the scores of a study's experiments, shown under names, and which runs say so.

    Ratios are to the first of them.
    """
    groups = {shown: select(runs, name) for shown, name in names.items()}
    first = next(iter(groups.values()))
    rows = tuple(
        (shown, *scored(own, first), names[shown], commits(own)) for shown, own in groups.items()
    )
    return Table((study, *SCORED, "runs", "commit"), rows)


LADDER: dict[str, tuple[tuple[str, str], tuple[float, float] | None]] = {
    "SGD, the baseline": (("baseline", "sgd"), (1.753, 1.856)),
    "SGD, its rate tuned": (("adamw_swap", "large-sgd-lr1"), None),
    "AdamW": (("adamw_swap", "large-adamw-lr0.001"), (1.324, 1.401)),
    "RoPE, RMSNorm, vocabulary of 32k": (("rope_and_vocab", "large-recipe"), (1.252, 1.314)),
}
"""The steps at the baseline's size: study and name of our runs, and what is published of the same
step on other titles, as the challenge counts and corrected to every token."""


def ladder(runs: Sequence[Run]) -> Table:
    """Return what each step at the baseline's size gained, beside what is published of it.

    A step that was not run is left out.
    """
    groups = {
        shown: [run for run in runs if (run.config.study, run.config.name) == where]
        for shown, (where, _) in LADDER.items()
    }
    first, rows = next(iter(groups.values())), []
    _, start = next(iter(LADDER.values()))
    for shown, own in groups.items():
        where, known = LADDER[shown]
        published = (
            ("", "")
            if known is None
            else (number(known[0], ".3f"), number(known[1] / start[1], ".3f"))
        )
        if own:
            seeds, source = number(len(own)), ("/".join(where), commits(own))
            rows.append((shown, *scored(own, first), seeds, *published, *source))
    header = (
        "baseline's size", *SCORED, "seeds", "published challenge", "published ratio", "runs",
        "commit",
    )  # fmt: skip
    return Table(header, tuple(rows))

"""Tables of the grokking study."""

from collections.abc import Sequence

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Table, mean_sd, number, select
from lmcore.studies.grokking.experiments import ABLATIONS, METHODS, MODULI, TUNED
from lmcore.studies.grokking.measures import (
    first_step_at,
    loss,
    mean_solving_step,
    outcome_accuracy,
    percent,
    percent_by_group,
    seconds_to,
    solved_at,
)


def drawn_table(runs: Sequence[Run]) -> Table:
    """Return the accuracies of the report's sampling, a row for each operation and modulus."""
    rows = []
    for name in dict.fromkeys(run.config.name for run in runs if "drawn" in run.config.name):
        group = select(runs, name)
        origins = [run.environment["data"] for run in group]
        rows.append(
            (
                f"{' '.join(group[0].config.task.operations)} mod {group[0].config.task.p}",
                number(group[0].config.task.n_samples),
                percent([origin["coverage"] for origin in origins]),
                percent(
                    [1 - origin["unseen test_rows"] / origin["test_rows"] for origin in origins]
                ),
                percent([origin["memoriser"] for origin in origins]),
                percent_by_group([outcome_accuracy(run, "test") for run in group]),
                percent_by_group([outcome_accuracy(run, "unseen test") for run in group]),
            )
        )
    header = (
        "sums", "samples", "of the table", "test shared", "memoriser", "model", "model, unseen",
    )  # fmt: skip
    return Table(header, tuple(rows))


def clean_table(runs: Sequence[Run]) -> Table:
    """Return steps and accuracies with disjoint sets."""
    rows = []
    for name in dict.fromkeys(run.config.name for run in runs if "clean" in run.config.name):
        group = select(runs, name)
        config = group[0].config.task
        rows.append(
            (
                " ".join(config.operations),
                str(config.p),
                number(config.train_fraction, ".0%"),
                mean_sd([solved_at(run) for run in group]),
                percent([outcome_accuracy(run, "test") for run in group]),
            )
        )
    return Table(("operations", "p", "of the table", "solved at step", "test"), tuple(rows))


def speed_table(runs: Sequence[Run]) -> Table:
    """Return steps and seconds of the fast division, a row for each seed."""
    rows = []
    for run in runs:
        at = solved_at(run)
        rows.append(
            (
                str(run.config.seed),
                str(at or "not solved"),
                f"{seconds_to(run, at):.1f}" if at else "",
                number(run.environment["training_s"], ".1f"),
                number(run.environment["cpu_s"], ".1f"),
                percent([outcome_accuracy(run, "test")]),
            )
        )
    header = ("seed", "solved at step", "seconds", "seconds in all", "CPU seconds", "test")
    return Table(header, tuple(rows))


def ablation_table(runs: Sequence[Run]) -> Table:
    """Return the steps to a solved table under each single change."""
    rows = []
    for shown in ABLATIONS:
        group = select(runs, f"ablation-{slug(shown)}")
        learned = mean_sd([first_step_at(run, 0.999, "train") for run in group])
        rows.append(
            (shown, learned, mean_sd([solved_at(run) for run in group]), number(len(group)))
        )
    header = ("changed", "memorised at step", "solved at step", "seeds")
    return Table(header, tuple(rows))


def method_table(runs: Sequence[Run]) -> Table:
    """Return each tuned method's steps and seconds to a solved table, the fewest steps first."""
    rows = []
    groups = {name: select(runs, f"method-{slug(name)}") for name in TUNED}
    for name, group in sorted(groups.items(), key=lambda item: mean_solving_step(item[1])):
        lr, value = TUNED[name]
        steps = [solved_at(run) for run in group]
        step_s = [run.environment["training_s"] / run.records[-1]["step"] for run in group]
        rows.append(
            (
                name,
                f"lr {lr:g}, {METHODS[name].parameter.replace('_', ' ')} {value:g}",
                mean_sd(steps),
                mean_sd([seconds_to(run, step) for run, step in zip(group, steps, strict=True)], 1),
                mean_sd([1_000 * seconds for seconds in step_s], 1),
            )
        )
    header = ("method", "tuned to", "solved at step", "seconds until then", "ms a step")
    return Table(header, tuple(rows))


def findings(runs: Sequence[Run]) -> Table:
    """Return the study's goals and what the runs reached."""

    def steps(name: str) -> str:
        return mean_sd([solved_at(run) for run in select(runs, name)])

    def unseen(name: str) -> str:
        return percent_by_group(
            [outcome_accuracy(run, "unseen test") for run in select(runs, name)]
        )

    def seconds(name: str) -> str:
        return mean_sd([seconds_to(run, solved_at(run)) for run in select(runs, name)], 1)

    minutes = sum(run.environment["training_s"] for run in select(runs, "classic")) / 60
    rows = [
        ("division mod 97, half the table: solved at step", "300", steps("division-fast")),
        ("training seconds until then, one thread", "10", seconds("division-fast")),
        ("division mod 97, plain head: solved at step", "every seed", steps("classic")),
        ("training minutes of all its seeds together, one thread", "6", f"{minutes:.1f}"),
        *(
            (f"{name} mod {p}, 5,000 samples: unseen pairs", goal, unseen(f"drawn-{name}-{p}"))
            for name, goal in (("add", "99 %"), ("subtract", "99 %"), ("mixed", "95 %"))
            for p in MODULI
            if select(runs, f"drawn-{name}-{p}")
        ),
    ]
    return Table(("grokking", "goal", "reached"), tuple(rows))


def sentence_table(runs: Sequence[Run]) -> Table:
    """Return what each run writes after the first letter, and its final loss."""
    rows = tuple(
        (
            str(run.config.seed),
            number(loss(run.records[-1]), ".4f"),
            run.config.task.sentence[0],
            run.outcome["probe"]["written"],
        )
        for run in runs
    )
    return Table(("seed", "loss, nats per character", "given", "written"), rows)

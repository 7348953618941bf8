"""Tables of positions, attention within titles, vocabulary sizes and the recipe."""

from collections.abc import Sequence

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Table, mean_sd, number, select
from lmcore.studies.headlines.measures import completed, final_loss, final_score
from lmcore.studies.headlines.tables import steps_table
from lmcore.studies.rope_and_vocab.experiments import (
    CHANGES,
    CONFINED,
    LONG_WARMUP,
    POSITIONS,
    RATES,
    ROPE,
    SIZES,
    START,
    STEPS,
    long_warmup,
    recipe_name,
    tuning,
    with_vocabulary,
    within_titles,
)
from lmcore.studies.rope_and_vocab.measures import (
    attention_to_self,
    differences,
    loss_per_token,
    test_loss,
)


def findings(runs: Sequence[Run]) -> Table:
    """Return the scores of each step at the budget of a sweep, with runs and commits."""
    return steps_table("RoPE and vocabulary", STEPS, runs)


def positions_table(runs: Sequence[Run]) -> Table:
    """Return the final loss of each kind of positions, across titles and within them."""
    rows = []
    for shown in POSITIONS:
        group = select(runs, slug(shown))
        is_confined = shown in CONFINED
        inner = select(runs, within_titles(shown))
        confined = differences(runs, within_titles(shown), slug(shown))
        rows.append(
            (
                shown,
                mean_sd([final_loss(run) for run in group], 4),
                mean_sd(differences(runs, slug(shown), "learned"), 4) if shown != "learned" else "",
                mean_sd([final_loss(run) for run in inner], 4) if is_confined else "not run",
                mean_sd(confined, 4) if is_confined else "",
                f"{group[0].config.model.n_parameters:,}" if group else "",
            )
        )
    header = (
        "positions", "nats/character", "higher than learned", "within titles",
        "higher than across", "parameters",
    )  # fmt: skip
    return Table(header, tuple(rows))


def attention_table(runs: Sequence[Run]) -> Table:
    """Return for each layer the share of attention to older titles and to the token itself."""
    kinds = {shown: slug(shown) for shown in POSITIONS}
    kinds |= {f"{shown}, within titles": within_titles(shown) for shown in CONFINED}
    rows, n = [], START.model.n_layers
    for shown, name in kinds.items():
        group = completed(select(runs, name))
        older = [
            run.outcome["probe"]["across"]["layers"]
            for run in group
            if "across" in run.outcome["probe"]
        ]
        cells = [
            mean_sd([100 * shares[i] for shares in older], 1, " %") if older else ""
            for i in range(n)
        ]
        cells += [mean_sd([attention_to_self(run)[i] for run in group], 1, " %") for i in range(n)]
        rows.append((shown, *cells))
    equal = completed(select(runs, slug(ROPE)))[0].outcome["probe"]["across"]["equal"]
    rows.append(("equal attention to all tokens so far", *[f"{100 * equal:.1f} %"] * n, *[""] * n))
    layers = range(1, n + 1)
    header = (
        "positions", *(f"older titles, layer {i}" for i in layers),
        *(f"own token, layer {i}" for i in layers),
    )  # fmt: skip
    return Table(header, tuple(rows))


def warmup_table(runs: Sequence[Run]) -> Table:
    """Return the final loss of RoPE with each warmup, across titles and within them."""
    rows = []
    for steps, renamed in ((START.train.schedule.warmup_steps, str), (LONG_WARMUP, long_warmup)):
        across, inner = renamed(slug(ROPE)), renamed(within_titles(ROPE))
        ends = [
            mean_sd([final_loss(run) for run in select(runs, name)], 4) for name in (across, inner)
        ]
        group = [
            mean_sd(
                [attention_to_self(run)[0] for run in completed(select(runs, name))],
                1,
                " %",
            )
            for name in (across, inner)
        ]
        rows.append((f"{steps} steps", *ends, mean_sd(differences(runs, inner, across), 4), *group))
    header = (
        "warmup", "across titles", "within titles", "higher by", "own token, across",
        "own token, within",
    )  # fmt: skip
    return Table(header, tuple(rows))


def vocabulary_table(runs: Sequence[Run]) -> Table:
    """Return the final loss of each vocabulary size in each unit, and its cost."""
    rows = []
    for size in SIZES:
        group = select(runs, with_vocabulary(size).name)
        if not group:
            continue
        done = completed(group)
        steps = group[0].records[-1]["step"]
        plan = group[0].config
        tokens = steps * plan.train.batch_size * plan.model.context_length
        rows.append(
            (
                number(size),
                mean_sd([loss_per_token(run) for run in done], 3),
                mean_sd([final_loss(run) for run in group], 4),
                mean_sd([final_score(run, "validation", "bpb") for run in group], 3),
                mean_sd([test_loss(run) for run in done], 4),
                number(tokens / 1e6, ".2f"),
                number(plan.model.n_parameters / 1e6, ".2f"),
                mean_sd([1000 * run.environment["training_s"] / steps for run in group], 0),
            )
        )
    header = (
        "vocabulary", "nats/token", "nats/character", "bits/byte", "test, nats/character",
        "tokens, millions", "parameters, millions", "ms/step",
    )  # fmt: skip
    return Table(header, tuple(rows))


def recipe_table(runs: Sequence[Run]) -> Table:
    """Return the final loss of the published recipe and of its single changes."""
    rows, names = (
        [],
        {"nothing": "recipe"} | {change: recipe_name(change) for change in CHANGES},
    )
    for shown, name in names.items():
        group = select(runs, name)
        higher = mean_sd(differences(runs, name, "recipe"), 4) if name != "recipe" else ""
        size = f"{group[0].config.model.n_parameters / 1e6:.2f}" if group else ""
        rows.append((shown, mean_sd([final_loss(run) for run in group], 4), higher, size))
    header = (
        "put back", "nats/character", "higher than the recipe", "parameters, millions"
    )  # fmt: skip
    return Table(header, tuple(rows))


def tuning_table(runs: Sequence[Run]) -> Table:
    """Return the final loss at each of RATES."""
    names = dict.fromkeys(
        experiment.name.removeprefix("tune-").split("-lr")[0] for experiment in tuning()
    )
    rows = [
        (
            name,
            *(
                mean_sd([final_loss(r) for r in select(runs, f"tune-{name}-lr{lr:g}")], 4)
                for lr in RATES
            ),
        )
        for name in names
    ]
    return Table(("experiment", *(f"lr {lr:g}" for lr in RATES)), tuple(rows))

"""Tables of positions, attention within titles, vocabulary sizes and the recipe."""

from collections.abc import Sequence

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Table, mean_sd, number, select
from lmcore.studies.headlines.measures import last, loss, whole
from lmcore.studies.headlines.tables import gained
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
    of_size,
    put_back,
    tuning,
    within,
)
from lmcore.studies.rope_and_vocab.measures import differences, of_token, own_token, test_loss


def findings(runs: Sequence[Run]) -> Table:
    """Return what each step gained at the budget of a sweep, and which runs say so."""
    return gained("RoPE and vocabulary", STEPS, runs)


def positions_table(runs: Sequence[Run]) -> Table:
    """Return what each kind of positions reaches, across titles and within them."""
    rows = []
    for shown in POSITIONS:
        own = select(runs, slug(shown))
        is_confined = shown in CONFINED
        inner = select(runs, within(shown))
        confined = differences(runs, within(shown), slug(shown))
        rows.append(
            (
                shown,
                mean_sd([loss(run) for run in own], 4),
                mean_sd(differences(runs, slug(shown), "learned"), 4) if shown != "learned" else "",
                mean_sd([loss(run) for run in inner], 4) if is_confined else "not run",
                mean_sd(confined, 4) if is_confined else "",
                f"{own[0].config.model.n_parameters:,}" if own else "",
            )
        )
    header = (
        "positions", "nats/character", "higher than learned", "within titles",
        "higher than across", "parameters",
    )  # fmt: skip
    return Table(header, tuple(rows))


def attention_table(runs: Sequence[Run]) -> Table:
    """Return layer by layer what share of attention goes to older titles, and to the own token."""
    kinds = {shown: slug(shown) for shown in POSITIONS}
    kinds |= {f"{shown}, within titles": within(shown) for shown in CONFINED}
    rows, n = [], START.model.n_layers
    for shown, name in kinds.items():
        own = whole(select(runs, name))
        older = [
            run.outcome["probe"]["across"]["layers"]
            for run in own
            if "across" in run.outcome["probe"]
        ]
        told_ = [
            mean_sd([100 * each[i] for each in older], 1, " %") if older else "" for i in range(n)
        ]
        told_ += [mean_sd([own_token(run)[i] for run in own], 1, " %") for i in range(n)]
        rows.append((shown, *told_))
    equal = whole(select(runs, slug(ROPE)))[0].outcome["probe"]["across"]["equal"]
    rows.append(("equal attention to all tokens so far", *[f"{100 * equal:.1f} %"] * n, *[""] * n))
    layers = range(1, n + 1)
    header = (
        "positions", *(f"older titles, layer {i}" for i in layers),
        *(f"own token, layer {i}" for i in layers),
    )  # fmt: skip
    return Table(header, tuple(rows))


def warmup_table(runs: Sequence[Run]) -> Table:
    """Return what RoPE reaches across titles and within them after each warmup."""
    rows = []
    for steps, renamed in ((START.train.schedule.warmup_steps, str), (LONG_WARMUP, long_warmup)):
        across, inner = renamed(slug(ROPE)), renamed(within(ROPE))
        ends = [mean_sd([loss(run) for run in select(runs, name)], 4) for name in (across, inner)]
        own = [
            mean_sd([own_token(run)[0] for run in whole(select(runs, name))], 1, " %")
            for name in (across, inner)
        ]
        rows.append((f"{steps} steps", *ends, mean_sd(differences(runs, inner, across), 4), *own))
    header = (
        "warmup", "across titles", "within titles", "higher by", "own token, across",
        "own token, within",
    )  # fmt: skip
    return Table(header, tuple(rows))


def vocabulary_table(runs: Sequence[Run]) -> Table:
    """Return what each size of vocabulary reaches in each unit, and what it costs."""
    rows = []
    for size in SIZES:
        own = select(runs, of_size(size).name)
        if not own:
            continue
        done = whole(own)
        steps = own[0].records[-1]["step"]
        plan = own[0].config
        tokens = steps * plan.train.batch_size * plan.model.context_length
        rows.append(
            (
                number(size),
                mean_sd([of_token(run) for run in done], 3),
                mean_sd([loss(run) for run in own], 4),
                mean_sd([last(run, "validation", "bpb") for run in own], 3),
                mean_sd([test_loss(run) for run in done], 4),
                number(tokens / 1e6, ".2f"),
                number(plan.model.n_parameters / 1e6, ".2f"),
                mean_sd([1000 * run.environment["training_s"] / steps for run in own], 0),
            )
        )
    header = (
        "vocabulary", "nats/token", "nats/character", "bits/byte", "test, nats/character",
        "tokens, millions", "parameters, millions", "ms/step",
    )  # fmt: skip
    return Table(header, tuple(rows))


def recipe_table(runs: Sequence[Run]) -> Table:
    """Return the published recipe, then each of its parts put back and how much higher it ends."""
    rows, names = [], {"nothing": "recipe"} | {each: put_back(each) for each in CHANGES}
    for shown, name in names.items():
        own = select(runs, name)
        higher = mean_sd(differences(runs, name, "recipe"), 4) if name != "recipe" else ""
        size = f"{own[0].config.model.n_parameters / 1e6:.2f}" if own else ""
        rows.append((shown, mean_sd([loss(run) for run in own], 4), higher, size))
    header = (
        "put back", "nats/character", "higher than the recipe", "parameters, millions"
    )  # fmt: skip
    return Table(header, tuple(rows))


def tuning_table(runs: Sequence[Run]) -> Table:
    """Return the loss in the end at each learning rate that was tried."""
    names = dict.fromkeys(each.name.removeprefix("tune-").split("-lr")[0] for each in tuning())
    rows = [
        (
            name,
            *(mean_sd([loss(r) for r in select(runs, f"tune-{name}-lr{lr:g}")], 4) for lr in RATES),
        )
        for name in names
    ]
    return Table(("experiment", *(f"lr {lr:g}" for lr in RATES)), tuple(rows))

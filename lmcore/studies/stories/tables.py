"""Tables of the study of stories."""

from collections.abc import Callable, Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import Number, Table, link_to_runs, mean_sd, number, select
from lmcore.studies.stories.experiments import BASELINE, GROUPS, REFERENCE, SWEEPS, base_of
from lmcore.studies.stories.measures import (
    counting_gap,
    differences,
    final_loss,
    gap,
    lowest_step,
    passes,
    scored_steps,
    test_loss,
)

TRIO = {
    "baseline": "healthy",
    "few-stories": "overfitting",
    "other-tokenizer": "another tokenizer",
}
"""The three runs that a figure and a table compare, with their words for them."""
FINDINGS = (
    BASELINE.name, "few-stories", "few-stories-early-stopping", "more-stories",
)  # fmt: skip
"""Experiments that the README shows."""


WORDS = {
    **{f"silu-{times}x": f"SiLU, {times} × d_model" for times in (1, 2, 4, 8)},
    **{f"batch-{size}-lr": f"batch {size}, lr scaled" for size in (1, 32)},
}
"""Names of experiments whose hyphens do not all stand for spaces."""


def shown(name: str) -> str:
    """Return an experiment's name in words."""
    change, _, rate = name.rpartition("-lr-")
    if change and rate:
        return f"{shown(change)}, lr {rate}"
    return WORDS.get(name, name.replace("-", " "))


def findings(runs: Sequence[Run]) -> Table:
    """Return the scores of some experiments, linked to the runs they come from."""
    rows = []
    for name in FINDINGS:
        group = select(runs, name)
        if group:
            scores = [run.outcome["test"] for run in group if "test" in run.outcome]
            rows.append(
                (
                    link_to_runs(shown(name), group),
                    mean_sd([final_loss(run) for run in group], 3),
                    mean_sd([score.loss for score in scores], 3),
                    mean_sd([score.bpb for score in scores], 3),
                    number(len(group)),
                )
            )
    header = (
        "stories, on a proxy", "validation, nats/token", "test, nats/token", "test, bits/byte",
        "seeds",
    )  # fmt: skip
    return Table(header, tuple(rows))


def overfitting_table(runs: Sequence[Run]) -> Table:
    """Return what tells the healthy, the overfitting and the mistaken run apart, a column each."""
    groups = [group for name in TRIO if (group := select(runs, name))]
    first, last = (scored_steps(groups[0][0])[place] for place in (0, -1))
    rows: dict[str, tuple[int, Callable[[Run], float | None]]] = {
        "passes through its text": (1, passes),
        "gap when counting": (2, counting_gap),
        f"gap at step {first}": (2, lambda run: gap(run, first)),
        f"gap at step {last}": (2, lambda run: gap(run, last)),
        "lowest validation loss at step": (0, lowest_step),
        "validation loss": (2, final_loss),
        "test loss": (2, test_loss),
    }
    return Table(
        ("", *(TRIO[group[0].config.name] for group in groups)),
        tuple(
            (name, *(mean_sd([of(run) for run in group], digits) for group in groups))
            for name, (digits, of) in rows.items()
        ),
    )


def changes_table(runs: Sequence[Run], group: str, base: str = REFERENCE.name) -> Table:
    """Return the final loss of a group's experiments and of what they are compared with."""
    others = [name for name in GROUPS[group] if name != base]
    bases = {name: base_of(name) if base == REFERENCE.name else base for name in others}
    names = dict.fromkeys([base, *bases.values(), *others])
    rows = []
    for name in names:
        chosen = select(runs, name)
        if chosen:
            rows.append(
                (
                    shown(name),
                    number(chosen[0].config.model.n_parameters),
                    number(chosen[0].config.model.flops_per_token / 1e6, ".2f"),
                    mean_sd([final_loss(run) for run in chosen], 2),
                    mean_sd([test_loss(run) for run in chosen], 2),
                    signed(differences(runs, name, bases[name])) if name in bases else "",
                )
            )
    header = ("run", "parameters", "MFLOP/token", "validation", "test", "change, seed by seed")
    return Table(header, tuple(rows))


def signed(changes: Sequence[float]) -> Number:
    """Return mean ± standard deviation of changes, a plus before a rise."""
    cell = mean_sd(changes, 2)
    return Number("+" + cell, cell.value, cell.sd) if cell.value > 0 else cell


def rates_table(runs: Sequence[Run]) -> Table:
    """Return the final loss at each learning rate, in order."""
    rows = [
        (
            number(group[0].config.train.optimizer.lr, "g"),
            mean_sd([final_loss(run) for run in group], 2),
            mean_sd([test_loss(run) for run in group], 2),
            number(max(r.get("grad_norm") or 0 for run in group for r in run.records), ".2g"),
        )
        for name in SWEEPS["learning rate"]
        if (group := select(runs, name))
    ]
    rows.sort(key=lambda row: row[0].value)
    return Table(("peak lr", "validation", "test", "largest gradient norm"), tuple(rows))


def stride_table(runs: Sequence[Run]) -> Table:
    """Return the loss of the same tokens in windows that overlap more and more."""
    groups = {name: select(runs, name) for name in (BASELINE.name, "few-stories")}
    rows = []
    kept = [run for run in groups[BASELINE.name] if run.outcome.get("history")]
    for place, entry in enumerate(kept[0].outcome["history"]["strides"] if kept else ()):
        losses = [
            [run.outcome["history"]["strides"][place]["nats"] for run in group]
            for group in groups.values()
        ]
        rows.append((number(entry["stride"]), *(mean_sd(values, 4) for values in losses)))
    return Table(("stride", *(shown(name) for name in groups)), tuple(rows))


def samples_table(
    runs: Sequence[Run], name: str = BASELINE.name, steps: int = 4, width: int = 160
) -> Table:
    """Return the beginning of a text that an experiment's first seed wrote after some steps."""
    entries = select(runs, name)[0].outcome["history"]["steps"]
    chosen = entries[:: max(1, (len(entries) - 1) // (steps - 1))]
    rows = tuple(
        (number(entry["step"]), " ".join(entry["texts"][0].split())[:width]) for entry in chosen
    )
    return Table(("step", "it writes"), rows)

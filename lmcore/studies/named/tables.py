"""Tables of the named experiments."""

from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.comparison import bits_per_byte, differences, signed
from lmcore.report.tables import Table, link_to_runs, mean_sd, number
from lmcore.studies.named.experiments import CHANGES, QUARTERS, scaled_name
from lmcore.studies.named.measures import (
    PART,
    best_widths,
    differences_at_equal_time,
    group,
    mean_processor_s,
    rule_of_thumb,
    vocabularies,
    width_law,
    width_points,
)

FINDINGS = ("baseline", "vocab_small", "embd_xlarge", "lr_high", "baseline_tuned")
"""Experiments that the README shows, where they have run."""


def changes_table(runs: Sequence[Run], names: Sequence[str] = tuple(CHANGES)) -> Table:
    """Return a row for each experiment that has run: score, and what it changed.

    The differences from the baseline are of equal seeds: after equal steps, which are equal tokens,
    and at equal time of a processor.
    """
    baseline = scaled_name("baseline", PART)
    rows = []
    for name in names:
        own = group(runs, name)
        if not own:
            continue
        is_baseline = name == "baseline"
        at_steps = [] if is_baseline else differences(runs, own[0].config.name, baseline)
        at_time = [] if is_baseline else differences_at_equal_time(runs, name)
        rows.append(
            (
                link_to_runs(name, own),
                number(len(own)),
                number(own[0].config.model.n_parameters),
                mean_sd([bits_per_byte(run) for run in own], 3),
                signed(mean_sd(at_steps, 3)) if at_steps else "",
                signed(mean_sd(at_time, 3)) if at_time else "",
                mean_sd([run.outcome["test"].bpb for run in own], 3),
                number(mean_processor_s(own), ".0f"),
            )
        )
    header = (
        "an eighth of", "seeds", "parameters", "validation, bits/byte", "change, equal steps",
        "change, equal time", "test, bits/byte", "processor, s",
    )  # fmt: skip
    return Table(header, tuple(rows))


def scales_table(runs: Sequence[Run]) -> Table:
    """Return what changes bring at an eighth and at a quarter of the published size."""
    rows = []
    for name in QUARTERS:
        cells = []
        for part in ("eighth", "quarter"):
            own, baseline = group(runs, name, part), scaled_name("baseline", part)
            changed = differences(runs, scaled_name(name, part), baseline)
            cells += [
                mean_sd([bits_per_byte(run) for run in own] or [None], 3),
                signed(mean_sd(changed or [None], 3)) if name != "baseline" else "",
            ]
        rows.append((name, *cells))
    header = ("experiment", "eighth, bits/byte", "change", "quarter, bits/byte", "change")
    return Table(header, tuple(rows))


def width_table(runs: Sequence[Run]) -> Table:
    """Return a row for each vocabulary: the rule's width, the best ones, and the power law of bits
    per byte in d_model with the exponent's standard error.
    """
    rows = []
    for vocab, size in vocabularies(runs).items():
        points, law = width_points(runs, vocab), width_law(runs, vocab)
        widths = sorted({width for width, _ in points})
        best = best_widths(runs, vocab)
        rows.append(
            (
                number(size),
                number(rule_of_thumb(size), ".1f"),
                f"{widths[0]} to {widths[-1]}",
                number(len(points)),
                *map(number, best),
                number(law.exponent, ".4f"),
                number(law.exponent_error, ".4f"),
                number(2**-law.exponent - 1, "+.1%"),
            )
        )
    header = (
        "vocabulary",
        "rule of thumb",
        "d_model",
        "runs",
        "best, equal steps",
        "best, equal time",
        "exponent",
        "standard error",
        "change for twice the width",
    )
    return Table(header, tuple(rows))


def findings(runs: Sequence[Run]) -> Table:
    """Return the scores of some experiments for the README, linked to their runs."""
    return changes_table(runs, FINDINGS)

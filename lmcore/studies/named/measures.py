"""What is read from runs of the named experiments: at equal steps, at equal time, and by width."""

import math
from collections.abc import Sequence
from statistics import fmean

from lmcore.experiments.run_folder import Run
from lmcore.report.comparison import PowerLaw, at_cost, bits_per_byte, power_law
from lmcore.report.tables import select
from lmcore.studies.named.experiments import scaled_name

WIDTHS = {
    "baseline": ("embd_small", "baseline", "embd_large", "embd_xlarge"),
    **{
        vocab: (f"{vocab}-embd_small", vocab, f"{vocab}-embd_large", f"{vocab}-embd_xlarge")
        for vocab in ("vocab_medium", "vocab_small")
    },
}
"""Experiments that differ in d_model alone, from narrow to wide, by vocabulary."""
PART = "eighth"
"""The part of the published size that is compared."""


def group(runs: Sequence[Run], name: str, part: str = PART) -> list[Run]:
    """Return the runs of a part of an experiment, all its seeds."""
    return select(runs, scaled_name(name, part))


def processor_s(run: Run) -> float:
    """Return the seconds that a processor worked on a run, with its evaluations, on one thread.

    On a machine that is shared, the time on the clock says little about a run.
    """
    return float(run.environment["cpu_s"])


def mean_processor_s(runs: Sequence[Run]) -> float:
    """Return the mean of `processor_s`."""
    return fmean(processor_s(run) for run in runs)


def pooled_processor_s(runs: Sequence[Run], name: str) -> float:
    """Return the mean of `processor_s` over all runs with as many operations as an experiment's.

    Other programs on the machine slow a run down by chance, and equal work should cost the same.
    """
    [example, *_] = group(runs, name)
    alike = [
        run
        for run in runs
        if run.config.model.flops_per_token == example.config.model.flops_per_token
        and run.records[-1]["tokens"] == example.records[-1]["tokens"]
    ]
    return mean_processor_s(alike)


def at_equal_time(runs: Sequence[Run], total_s: float, budget_s: float) -> list[float]:
    """Return the bits per byte of runs, which take total_s of a processor, after budget_s."""
    seconds_per_step = total_s / runs[0].records[-1]["step"]
    return [at_cost(run, seconds_per_step, budget_s) for run in runs]


def differences_at_equal_time(runs: Sequence[Run], name: str) -> list[float]:
    """Return, for each seed of an experiment and the baseline, their difference at equal time.

    The time is what the cheaper of the two takes for its run. The learning rate is constant, so
    that the longer run's earlier score is that of a run of this length.
    """
    scores, totals = {}, {other: pooled_processor_s(runs, other) for other in (name, "baseline")}
    for other in totals:
        own = group(runs, other)
        values = at_equal_time(own, totals[other], min(totals.values()))
        scores[other] = dict(zip(seeds(own), values, strict=True))
    after, before = scores[name], scores["baseline"]
    changed = {seed: after[seed] - before[seed] for seed in after if seed in before}
    return [value for value in changed.values() if not math.isnan(value)]


def seeds(runs: Sequence[Run]) -> list[int]:
    """Return the seed of each run."""
    return [run.config.seed for run in runs]


def width_points(runs: Sequence[Run], vocab: str) -> list[tuple[int, float]]:
    """Return d_model and bits per byte of each run with a vocabulary."""
    return [
        (run.config.model.d_model, bits_per_byte(run))
        for name in WIDTHS[vocab]
        for run in group(runs, name)
    ]


def width_law(runs: Sequence[Run], vocab: str) -> PowerLaw:
    """Return the power law of bits per byte in d_model with a vocabulary."""
    widths, losses = zip(*width_points(runs, vocab), strict=True)
    return power_law([float(width) for width in widths], losses)


def vocabularies(runs: Sequence[Run]) -> dict[str, int]:
    """Return the sizes of the vocabularies with runs of two widths at least, by name."""
    return {
        vocab: group(runs, vocab)[0].config.model.vocab_size
        for vocab in WIDTHS
        if group(runs, vocab) and len({width for width, _ in width_points(runs, vocab)}) > 1
    }


def best_widths(runs: Sequence[Run], vocab: str) -> tuple[int, int]:
    """Return the best d_model with a vocabulary at equal steps and at equal time.

    The time is what the cheapest width takes. Scores are means over seeds.
    """
    names = [name for name in WIDTHS[vocab] if group(runs, name)]
    totals = {name: pooled_processor_s(runs, name) for name in names}
    steps = {name: fmean(map(bits_per_byte, group(runs, name))) for name in names}
    time = {
        name: fmean(at_equal_time(group(runs, name), totals[name], min(totals.values())))
        for name in names
    }
    steps_best, time_best = (min(scores, key=scores.__getitem__) for scores in (steps, time))
    return tuple(group(runs, name)[0].config.model.d_model for name in (steps_best, time_best))


def rule_of_thumb(vocab_size: int) -> float:
    """Return the embedding size that the rule says: the fourth root of the vocabulary."""
    return vocab_size**0.25

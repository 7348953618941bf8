"""What the text says about the named experiments, as assertions on the runs that there are."""

import math
from collections.abc import Sequence
from itertools import pairwise

from lmcore.experiments.run_folder import Run
from lmcore.report.comparison import differences
from lmcore.report.tables import validation
from lmcore.studies.named.experiments import QUARTERS, SEARCHED, SEEDS, scaled_name
from lmcore.studies.named.measures import (
    PART,
    best_widths,
    differences_at_equal_time,
    group,
    pooled_processor_s,
    rule_of_thumb,
    vocabularies,
    width_law,
    width_points,
)

HELPS = ("embd_large", "embd_xlarge", "lr_high")
HARMS = ("vocab_small", "vocab_medium", "embd_small", "lr_low")
SLOWER = ("arch_deep",)
"""What helps at equal steps and harms at equal time."""
LEVEL_IN_TIME = ("vocab_medium",)
"""What harms at equal steps, and at equal time for some seeds only."""
NEITHER = ("arch_wide", "data_small", "data_medium")
"""What helps some seeds and harms others."""


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says about changes, widths and scales; runs to come are left out."""
    assert all(validation(run).coverage == 1 for run in runs if "diverged" not in run.outcome)
    check_changes(runs)
    if all(len(group(runs, name)) == len(SEEDS) for name in (*SEARCHED, "baseline", "lr_high")):
        check_searches(runs)
    if len(group(runs, "embd_xlarge")) and len(group(runs, "baseline")):
        check_widths(runs)


def check_changes(runs: Sequence[Run]) -> None:
    """Assert that each change helps or harms for every seed, at equal steps and at equal time.

    At a quarter of the published size it does what it does at an eighth.
    """
    for part in (PART, "quarter"):
        for name in (*HELPS, *HARMS):
            changed = differences(runs, scaled_name(name, part), scaled_name("baseline", part))
            assert all((change < 0) == (name in HELPS) for change in changed), name
    for name in (*HELPS, *HARMS, *SLOWER, *NEITHER):
        if not (group(runs, name) and group(runs, "baseline")):
            continue
        steps = differences(runs, scaled_name(name, PART), scaled_name("baseline", PART))
        time = differences_at_equal_time(runs, name)
        if name in (*NEITHER, *LEVEL_IN_TIME):
            assert len(time) < 3 or min(time) < 0 < max(time), name
        else:
            assert all((change < 0) == (name in HELPS) for change in time), name
        assert name in NEITHER or all((change < 0) == (name not in HARMS) for change in steps), name
    width, rate = (
        differences(runs, scaled_name(name, PART), scaled_name("baseline", PART))
        for name in ("embd_xlarge", "lr_high")
    )
    assert not (width and rate) or max(width) < min(rate)
    assert set(QUARTERS) <= {"baseline", *HELPS, *HARMS}


def check_searches(runs: Sequence[Run]) -> None:
    """Assert that the tuned baseline beats the baseline but not its higher rate alone, and that the
    two optimal models are level with the baseline on two seeds and far behind on one, for less than
    half of its parameters and time.
    """
    base, rate = scaled_name("baseline", PART), scaled_name("lr_high", PART)
    tuned = scaled_name("baseline_tuned", PART)
    assert max(differences(runs, tuned, base)) < -0.12
    beside = differences(runs, tuned, rate)
    assert sum(change > 0 for change in beside) == 2
    assert sum(beside) > 0
    for name in ("optimal_small", "optimal_fast"):
        changed = sorted(differences(runs, scaled_name(name, PART), base))
        assert max(map(abs, changed[:2])) < 0.02 < 0.1 < changed[2], name
        [small, *_], [large, *_] = group(runs, name), group(runs, "baseline")
        assert 2 * small.config.model.n_parameters < large.config.model.n_parameters
        assert 2 * pooled_processor_s(runs, name) < pooled_processor_s(runs, "baseline")


def check_widths(runs: Sequence[Run]) -> None:
    """Assert that wider is better with each vocabulary, far beyond the rule of thumb, by a clear
    power law that is steeper the smaller the vocabulary, and that the widest run is the best also
    at equal time.
    """
    for vocab, size in vocabularies(runs).items():
        law, points = width_law(runs, vocab), width_points(runs, vocab)
        assert law.exponent > 10 * law.exponent_error, vocab
        widest = max(width for width, _ in points)
        assert widest > 10 * rule_of_thumb(size)
        assert best_widths(runs, vocab) == (widest, widest), vocab
    laws = [width_law(runs, vocab) for vocab in vocabularies(runs)]  # from large to small
    for large, small in pairwise(laws):
        gap = small.exponent - large.exponent
        assert gap > 2 * math.hypot(small.exponent_error, large.exponent_error)

"""What the text says about these runs, as assertions."""

import statistics
from collections.abc import Sequence

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report.tables import select
from lmcore.studies.grokking.delay import delay
from lmcore.studies.grokking.experiments import (
    ABLATIONS,
    DECAYS,
    DELAY_METHODS,
    DELAY_SHARES,
    FRACTIONS,
    MODULI,
    RATES,
    SUMS,
    TUNED,
    delay_name,
)
from lmcore.studies.grokking.measures import (
    accuracy,
    best_setting,
    final_accuracy,
    first_step_at,
    outcome_accuracy,
    seconds_to,
    solved_at,
    tuning_runs,
)


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says about these runs."""
    for run in select(runs, "sentence"):
        assert run.outcome["probe"]["written"] == run.config.task.sentence
    check_sums(runs)
    check_division(runs)
    check_changes(runs)
    check_methods(runs)
    check_delay(runs)
    check_keys_without_leak(runs)


def check_sums(runs: Sequence[Run]) -> None:
    """Assert what the text says about the report's sampling and of sets that share nothing."""

    def unseen(name: str) -> list[float]:
        return [outcome_accuracy(run, "unseen test") or 0 for run in select(runs, f"drawn-{name}")]

    for p in MODULI:
        assert min(unseen(f"add-{p}") + unseen(f"subtract-{p}")) > 0.99
    assert min(unseen("mixed-97")) > 0.95
    for name in SUMS:
        small, large = ([solved_at(r) for r in select(runs, f"clean-{name}-{p}")] for p in MODULI)
        assert statistics.fmean(large) < statistics.fmean(small)
    *few, most = sorted(unseen("mixed-113"))
    assert most > 0.99
    assert max(few) < 0.1
    assert max(unseen("mixed-97-as-113")) < 0.1
    lowest, *others = sorted(unseen("mixed-113-as-97"))
    assert 0.7 < lowest < 0.8
    assert min(others) > 0.95


def check_division(runs: Sequence[Run]) -> None:
    """Assert what the text says about division."""
    for run in select(runs, "division-fast"):
        assert solved_at(run) <= 300
    for run in select(runs, "classic"):
        memorised = first_step_at(run, 0.999, "train")
        assert solved_at(run) > 2 * memorised
        assert outcome_accuracy(run, "test") == 1
    for name, most in {"division-fast": 0.3, "classic": 0.04}.items():
        for run in select(runs, name):
            claim = run.outcome["probe"]["claim"]
            assert claim["only keys"] == 1
            assert max(claim["without keys"], claim["only others"]) < most
    left = {
        name: [run.outcome["probe"]["claim"]["without keys"] for run in select(runs, name)]
        for name in ("division-fast", "classic")
    }
    assert 0.025 < min(left["division-fast"]) < max(left["division-fast"]) < 0.12
    assert max(left["classic"]) < 0.03
    slow, fast = (
        statistics.fmean(len(run.outcome["probe"]["claim"]["keys"]) for run in select(runs, name))
        for name in ("classic", "division-fast")
    )
    assert slow < fast
    for run in select(runs, "report-500"):
        assert first_step_at(run, 0.999, "train") < 50
        assert accuracy(run.records[-1], "train") == 1
        assert outcome_accuracy(run, "test") < 0.02
    for run in select(runs, "smallest-train0.2"):
        assert solved_at(run) < 2_000
    for run in select(runs, "smallest-train0.15"):
        assert outcome_accuracy(run, "test") < 0.35


def check_changes(runs: Sequence[Run]) -> None:
    """Assert what the text says about decay, of the share of the table, and of single changes."""
    solved = {
        (decay, fraction): sum(
            solved_at(run) is not None
            for run in select(runs, f"phase-decay{decay:g}-train{fraction:g}")
        )
        for decay in DECAYS
        for fraction in FRACTIONS
    }
    assert [solved[0.0, fraction] for fraction in FRACTIONS] == [0, 0, 0, 0, 3]
    assert [solved[0.3, fraction] for fraction in FRACTIONS] == [0, 0, 0, 3, 3]
    assert [solved[1.0, fraction] for fraction in FRACTIONS] == [0, 0, 1, 3, 3]
    assert max(solved[2.0, fraction] for fraction in FRACTIONS) == 1
    changed = {
        name: [solved_at(run) for run in select(runs, f"ablation-{slug(name)}")]
        for name in ABLATIONS
    }
    same = ("nothing", "no warmup", "warmup 100", "two layers", "batch 1024")
    assert all(250 < statistics.fmean(changed[name]) < 350 for name in same)
    for name in ("lr 0.01", "plain head, no decay", "plain head, no decay, loss in float64"):
        assert not any(changed[name])
    scales = [statistics.fmean(changed[f"initial scale {scale}"]) for scale in (2, 8)]
    assert statistics.fmean(changed["nothing"]) < min(scales)


def check_methods(runs: Sequence[Run]) -> None:
    """Assert what the text says about methods and of how they were tuned."""
    groups = {name: select(runs, f"method-{slug(name)}") for name in TUNED}
    steps = {name: [solved_at(run) for run in group] for name, group in groups.items()}
    known = {name: [step for step in solved if step] for name, solved in steps.items()}
    seconds = {
        name: statistics.fmean(seconds_to(run, solved_at(run)) for run in groups[name])
        for name in steps
        if known[name] == steps[name]
    }
    for name, setting in TUNED.items():
        assert best_setting(runs, name) == setting
        assert min(RATES) < setting[0] < max(RATES)
    mean = {name: statistics.fmean(solved) for name, solved in known.items() if solved}
    assert min(mean, key=mean.get) == "Muon"
    assert min(seconds, key=seconds.get) == "cosine head"
    assert mean["AdamW"] < min(mean["Grokfast"], mean["StableMax"])
    assert mean["cosine head, Muon"] > max(mean["cosine head"], mean["Muon"])
    orthogonal = groups["orthogonal gradients"]
    assert not known["orthogonal gradients"]
    assert min(accuracy(run.records[-1]) for run in orthogonal) > 0.95
    assert max(final_accuracy(tuning_runs(runs, "StableMax", lr, 0.0)) for lr in RATES) < 0.5


def check_delay(runs: Sequence[Run]) -> None:
    """Assert what the text says about the delay between trained and unseen pairs."""
    ratios = {
        (*cell, share): [delay(run) for run in select(runs, delay_name(*cell, share))]
        for cell in DELAY_METHODS
        for share in DELAY_SHARES
    }
    assert min(len(cell) for cell in ratios.values()) == 3
    half = [ratio for (*_, share), cell in ratios.items() if share == 0.5 for ratio in cell]
    assert 1 <= min(half) < max(half) < 1.25
    late = sorted(statistics.median(ratios[*cell, 0.3]) for cell in DELAY_METHODS)
    assert late[0] < 2 < late[1] < late[-1] < 4
    plain = [r for optimizer in ("AdamW", "Muon") for r in ratios["plain", optimizer, 0.2]]
    solved = [ratio for ratio in plain if ratio]
    assert len(solved) == 4
    assert 6.9 < min(solved) < max(solved) < 34
    assert not any(ratios["cosine", "AdamW", 0.2])
    assert max(r for share in DELAY_SHARES for r in ratios["cosine", "Muon", share]) <= 3


def check_keys_without_leak(runs: Sequence[Run]) -> None:
    """Assert what the text says about key waves, on every run that was tested without the leak."""
    tested = [run for run in runs if "without leak" in run.outcome.get("probe", {})]
    assert len(tested) >= 66
    results = {(r.config.name, r.config.seed): r.outcome["probe"]["without leak"] for r in tested}
    solved = {name: result for name, result in results.items() if result["whole"] >= 0.99}
    missed = {name for name, result in solved.items() if result["only keys"] < 0.97}
    assert missed == {
        ("keys-stablemax", 104), ("keys-stablemax", 105), ("keys-plain-head", 103),
        ("keys-smallest", 103),
    }  # fmt: skip
    assert max(results[name]["only keys"] for name in missed - {("keys-smallest", 103)}) < 0.75
    left = {name: result["without keys"] for name, result in solved.items()}
    assert 0.03 < statistics.median(left.values()) < 0.05
    (most, _), *_ = sorted(left, key=lambda name: left[name], reverse=True)
    assert most.startswith("delay-plain-muon")
    assert 0.36 < max(left.values()) < 0.38
    stablemax = sorted(left["keys-stablemax", seed] for seed in (104, 105))
    assert [round(share, 2) for share in stablemax] == [0.28, 0.3]
    controls = select(runs, "keys-no-decay")
    assert controls
    for run in controls:
        result = run.outcome["probe"]["without leak"]
        assert run.outcome["probe"]["claim"]["only keys"] > 0.9
        assert 0.15 < result["only keys"] < 0.25
        assert result["whole"] < 0.05

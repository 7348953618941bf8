"""What the text says about these runs, as assertions."""

import statistics
from collections.abc import Sequence

from lmcore.experiments.run_folder import Run
from lmcore.report.tables import select
from lmcore.studies.stories.experiments import BASELINE, FEW, GROUPS, RATES, SEEDS, SWEEPS
from lmcore.studies.stories.measures import (
    counting_gap,
    differences,
    final_loss,
    gap,
    guessing,
    lowest_step,
    passes,
    scored_steps,
    test_loss,
    text_metric,
    training_loss,
    validation_loss,
)


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says about these runs."""
    healthy, few = select(runs, BASELINE.name), select(runs, "few-stories")
    assert [run.config.seed for run in healthy] == [run.config.seed for run in few] == [*SEEDS]
    check_overfitting(healthy, few)
    check_bug(healthy, select(runs, "other-tokenizer"))
    check_repairs(runs)
    check_rates(runs)
    check_norms(runs)
    check_mlps(runs)
    check_dropout(runs)
    check_batches(runs)
    check_text(healthy, few)
    check_strides(healthy)


def check_overfitting(healthy: Sequence[Run], few: Sequence[Run]) -> None:
    """Assert what the text says about the healthy and the overfitting run."""
    for run in few:
        assert run.environment["data"]["train_stories"] == FEW
        assert 45 < passes(run) < 50
        assert 50 < lowest_step(run) < 200
        assert (final_loss(run) or 0) > max(8.0, guessing(run))
        assert (training_loss(run, run.records[-1]["step"]) or 1) < 0.05
        assert 0.1 < counting_gap(run) < 0.4
    for run in healthy:
        assert passes(run) < 0.2
        assert lowest_step(run) == run.records[-1]["step"]
        assert abs(counting_gap(run)) < 0.05
        assert gap(run, run.records[-1]["step"]) < 0.2


def check_bug(healthy: Sequence[Run], wrong: Sequence[Run]) -> None:
    """Assert what the text says about validation tokens of another tokenizer."""
    known = {run.config.seed: run for run in healthy}
    for run in wrong:
        data = run.environment["data"]
        assert data["tokenizer"] != data["validation_tokenizer"]
        first = scored_steps(run)[0]
        assert gap(run, first) > 0.8 > 0.5 > gap(known[run.config.seed], first)
        assert first * 8 * 128 < data["train_tokens"]  # before any text was read twice
        assert counting_gap(run) > 0.85
        assert (final_loss(run) or 0) > guessing(run)
        assert test_loss(run) == test_loss(known[run.config.seed])
        [scored] = [r for r in run.records if r["step"] == first]
        first_loss, last_loss = validation_loss(scored), final_loss(run)
        assert first_loss is not None
        assert last_loss is not None
        assert first_loss < last_loss


def check_repairs(runs: Sequence[Run]) -> None:
    """Assert what the text says about repairs of overfitting."""
    gained = {
        name: differences(runs, name, "few-stories") for name in ("few-stories", *GROUPS["repairs"])
    }
    assert {len(changes) for changes in gained.values()} == {len(SEEDS)}
    assert max(gained["few-stories-early-stopping"]) < -3
    assert -3.2 < min(gained["few-stories-dropout"]) < max(gained["few-stories-dropout"]) < -2
    assert -1.5 < min(gained["few-stories-smaller"]) < max(gained["few-stories-smaller"]) < -0.8
    assert min(gained["few-stories-decay"]) > 0
    assert max(map(abs, differences(runs, "more-stories", BASELINE.name))) < 0.15
    for run in select(runs, "more-stories"):
        assert 4 < passes(run) < 6
    few, small = select(runs, "few-stories")[0], select(runs, "few-stories-smaller")[0]
    assert 5.5 < few.config.model.n_parameters / small.config.model.n_parameters < 6.5


def check_rates(runs: Sequence[Run]) -> None:
    """Assert what the text says about the learning rate."""
    higher = {lr: changes_of(runs, f"lr-{lr:g}") for lr in RATES}
    assert min(higher[1e-3]) > 0.3
    assert 0 < min(higher[2e-3]) < max(higher[2e-3]) < 0.2
    assert min(higher[8e-3]) > 0.4
    assert min(higher[1.6e-2]) > 0.6
    for run in select(runs, "lr-0.512"):
        counted = run.outcome["probe"]["counting"]["validation"]
        assert counted - 0.25 < (final_loss(run) or 0) < counted
    for run in select(runs, "lr-2.048"):
        assert (final_loss(run) or 0) > 25 > guessing(run)


def check_norms(runs: Sequence[Run]) -> None:
    """Assert what the text says about norms and positions."""
    for run in select(runs, "post-norm"):
        counted = run.outcome["probe"]["counting"]["validation"]
        assert abs((final_loss(run) or 0) - counted) < 0.03
    assert min(changes_of(runs, "post-norm")) > 1.6
    gentle = changes_of(runs, "post-norm-lr-0.001")
    assert 0.2 < min(gentle) < max(gentle) < 0.4
    assert min(differences(runs, "no-norm-lr-0.001", "no-norm")) > 0.5
    assert 0.7 < min(changes_of(runs, "no-norm")) < max(changes_of(runs, "no-norm")) < 1
    positions = changes_of(runs, "no-positions")
    assert -0.05 < min(positions) < 0 < max(positions) < 0.2


def check_mlps(runs: Sequence[Run]) -> None:
    """Assert what the text says about the MLP and about parallel parts."""
    changes = {name: changes_of(runs, name) for name in SWEEPS["MLP"]}
    assert min(changes["silu-1x"]) > 0.25
    assert -0.26 < min(changes["silu-4x"]) < max(changes["silu-4x"]) < -0.045
    assert max(changes["parallel"]) < 0
    wider = differences(runs, "silu-8x", "silu-4x")
    assert min(wider) < 0 < max(wider)
    assert max(map(abs, wider)) < 0.06
    slower = changes["silu-4x-lr-0.002"]
    assert -0.14 < min(slower) < max(slower) < -0.035
    assert max(changes["parallel-lr-0.002"]) < 0
    narrow, wide = (select(runs, name)[0].config.model for name in ("silu-4x", "silu-8x"))
    assert 1.41 < wide.n_parameters / narrow.n_parameters < 1.43


def check_dropout(runs: Sequence[Run]) -> None:
    """Assert what the text says about dropout where nothing is read twice."""
    assert -0.04 < min(changes_of(runs, "dropout-0.1")) < 0 < max(changes_of(runs, "dropout-0.1"))
    assert max(changes_of(runs, "dropout-0.1")) < 0.22
    assert min(changes_of(runs, "dropout-0.3")) > 0.25
    for name in SWEEPS["dropout"]:
        for run in select(runs, name):
            assert passes(run) < 0.1


def check_batches(runs: Sequence[Run]) -> None:
    """Assert what the text says about the batch size."""
    assert -0.45 < min(changes_of(runs, "batch-4")) < max(changes_of(runs, "batch-4")) < -0.29
    assert min(changes_of(runs, "batch-32")) > 1
    single = differences(runs, "batch-1", "batch-4")
    assert min(single) < 0 < sorted(single)[1] < max(single) < 0.11
    scaled = differences(runs, "batch-32-lr", "batch-32")
    assert min(scaled) < 0 < max(scaled)
    assert {run.records[-1]["step"] for run in select(runs, "batch-32")} == {62}
    slower = differences(runs, "batch-1-lr", "batch-1")
    assert 0 < min(slower) < max(slower) < 0.2


def changes_of(runs: Sequence[Run], name: str) -> list[float]:
    """Return the differences of a single change, one for each seed."""
    changes = differences(runs, name)
    assert len(changes) == len(SEEDS), f"{name} lacks a seed or its reference"
    return changes


def check_text(healthy: Sequence[Run], few: Sequence[Run]) -> None:
    """Assert what the text says about the text that models write."""

    def mean(group: Sequence[Run], metric: str) -> float:
        return statistics.fmean(text_metric(run.outcome["probe"], metric) for run in group)

    for group in (healthy, few):
        assert 0.88 < mean(group, "known_words") < 0.95
        assert mean(group, "repetition_4") < 0.01
    assert mean(few, "longest_copy") < mean(healthy, "longest_copy") - 1
    for run in healthy:
        sampling = {(e["temperature"], e["top_p"]): e for e in run.outcome["history"]["sampling"]}
        assert text_metric(sampling[0.8, 0.9], "known_words") > 0.95
        assert text_metric(sampling[0.8, 0.9], "repetition_4") < 0.05
        for top_p in (0.5, 0.9, 1.0):
            coldest, hottest = sampling[0.5, top_p], sampling[1.3, top_p]
            for metric, sign in (("distinct_2", 1), ("known_words", -1), ("longest_copy", -1)):
                change = text_metric(hottest, metric) - text_metric(coldest, metric)
                assert sign * change > 0


def check_strides(healthy: Sequence[Run]) -> None:
    """Assert what the text says about the way of scoring."""
    ends = [loss for run in healthy if (loss := final_loss(run)) is not None]
    for run in healthy:
        whole, half, *shorter = (entry["nats"] for entry in run.outcome["history"]["strides"])
        assert 0.01 < whole - half < 0.02
        assert all(half <= nats < half + 0.006 for nats in shorter)
        assert whole - half < statistics.stdev(ends) / 3

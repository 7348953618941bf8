"""What the text says about these runs, as assertions."""

import statistics
from collections.abc import Sequence

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report.tables import select
from lmcore.studies.adamw_swap.experiments import (
    ABLATIONS,
    GIVEN,
    LARGE_RATES,
    LARGE_TUNED,
    NAMES,
    OPTIMIZERS,
    SEEDS,
    TUNED,
    WARMUP,
)
from lmcore.studies.adamw_swap.measures import (
    best_rate,
    differences,
    large_loss,
    tuned_loss,
    update_ratio_of,
)
from lmcore.studies.baseline.experiments import SEEDS as LARGE_SEEDS
from lmcore.studies.headlines.measures import (
    end_share,
    final_loss,
    final_score,
    mean_loss,
    paired_losses,
    unigram_level,
)


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says about these runs."""
    check_tuning(runs)
    check_inside(runs)
    check_ablations(runs)
    check_large(runs)
    runs = [run for run in runs if run.config.model == GIVEN.model]
    groups = {shown: select(runs, name) for shown, name in NAMES.items()}
    assert {run.records[-1]["step"] for run in runs} == {718}
    assert round(100 * WARMUP / 718) == 5
    assert GIVEN.model.n_parameters == 925_184
    assert all(final_score(run, "challenge", "coverage") > 0.997 for run in runs)
    for run in groups["SGD as given"]:
        assert final_loss(run) > unigram_level(run)
        assert end_share(run.records[-1]) > 0.999
    for shown in OPTIMIZERS:
        assert all(final_loss(run) < 0.9 * unigram_level(run) for run in groups[shown])
    given, sgd, momentum, adamw, muon = (
        [final_loss(run) for run in groups[shown]] for shown in NAMES
    )
    by_rate = [(a - b) / (a - d) for a, b, d in zip(given, sgd, adamw, strict=True)]
    by_both = [(a - c) / (a - d) for a, c, d in zip(given, momentum, adamw, strict=True)]
    assert 0.6 < min(by_rate) < max(by_rate) < 0.7
    assert 0.75 < min(by_both) < max(by_both) < 0.85
    assert max(d / c for c, d in zip(momentum, adamw, strict=True)) < 0.92
    assert max(e / d for d, e in zip(adamw, muon, strict=True)) < 0.95
    assert max(d / a for a, d in zip(given, adamw, strict=True)) < 1.324 / 1.753  # as published


def check_large(runs: Sequence[Run]) -> None:
    """Assert what the text says about the baseline's size."""
    start = [run for run in runs if (run.config.study, run.config.name) == ("baseline", "sgd")]
    sgd, adamw = (select(runs, f"large-{slug(n)}-lr{lr:g}") for n, lr in LARGE_TUNED.items())
    assert [len(group) for group in (start, sgd, adamw)] == 3 * [len(LARGE_SEEDS)]
    for name, rates in LARGE_RATES.items():
        best = min(rates, key=lambda lr, name=name: large_loss(runs, name, lr))
        assert rates[0] < best == LARGE_TUNED[name] < rates[-1]
    assert LARGE_TUNED["AdamW"] == TUNED["AdamW"] / 4
    assert LARGE_TUNED["SGD"] == TUNED["SGD"]
    assert all(final_loss(run) > unigram_level(run) for run in start)
    assert all(final_loss(run) < unigram_level(run) for run in sgd)
    assert all(final_loss(run) < 0.75 * unigram_level(run) for run in adamw)
    assert all(0.68 < after / before < 0.7 for after, before in paired_losses(adamw, start))
    assert all(0.8 < after / before < 0.82 for after, before in paired_losses(sgd, start))
    assert all(0.84 < after / before < 0.86 for after, before in paired_losses(adamw, sgd))
    pairs = zip(paired_losses(sgd, start), paired_losses(adamw, start), strict=True)
    shares = [(given - tuned) / (given - swapped) for (tuned, given), (swapped, _) in pairs]
    assert 0.58 < min(shares) < statistics.fmean(shares) < 0.62
    assert 0.74 < 1.401 / 1.856 < 0.76  # as published, corrected to every token


def check_tuning(runs: Sequence[Run]) -> None:
    """Assert what the text says about the learning rates."""
    losses = {
        name: [tuned_loss(runs, name, lr) for lr in contender.rates]
        for name, contender in OPTIMIZERS.items()
    }
    for name, lr in TUNED.items():
        assert best_rate(runs, name) == lr
        assert lr not in (OPTIMIZERS[name].rates[0], OPTIMIZERS[name].rates[-1])
    assert TUNED["SGD"] > 100 * GIVEN.train.optimizer.lr
    assert tuned_loss(runs, "SGD", 2.0) - tuned_loss(runs, "SGD with momentum", 0.2) > 0.15
    adamw, muon = (
        dict(zip(OPTIMIZERS[n].rates, losses[n], strict=True)) for n in ("AdamW", "Muon and AdamW")
    )
    assert adamw[8e-3] > 1.05 * adamw[4e-3]
    assert max(muon[lr] for lr in (5e-3, 1e-2, 2e-2, 4e-2)) < 1.015 * muon[1e-2]
    assert max(losses["Muon and AdamW"]) < min(losses["AdamW"])
    assert adamw[1.6e-2] > min(losses["SGD with momentum"])


def check_inside(runs: Sequence[Run]) -> None:
    """Assert what the text says about gradients, updates and guesses."""
    shares = [
        statistics.fmean(end_share(run.records[-1]) for run in select(runs, name))
        for name in NAMES.values()
    ]
    assert shares == sorted(shares, reverse=True)
    for shown, name in NAMES.items():
        for run in select(runs, name):
            early = [record for record in run.records if 0 < record["step"] <= 300]
            went = [share for record in early if (share := update_ratio_of("hidden")(record))]
            steepest = max(record["grad_norm"] for record in early)
            tokens = [entry["token"] for entry in run.outcome["probe"]["next_token"]["top"]]
            is_adaptive = shown in ("AdamW", "Muon and AdamW")
            assert tokens[0] == "<eos>"
            assert run.outcome["probe"]["next_token"]["target_probability"] < 0.01
            assert (tokens[2] == " released") == (" released" in tokens) == is_adaptive
            assert (end_share(run.records[-1]) < 0.25) == is_adaptive
            assert (steepest > 5) == (shown == "SGD")
            if shown == "SGD as given":
                assert max(went) < 0.0003
            else:
                assert 0.004 < min(went) < max(went) < 0.05


def check_ablations(runs: Sequence[Run]) -> None:
    """Assert what the text says about single changes."""
    higher = {name: differences(runs, name) for name in ABLATIONS}
    assert {len(changes) for changes in higher.values()} == {len(SEEDS)}
    assert max(higher["warmup, stable, decay"]) < -0.03
    assert max(higher["constant"]) < 0
    assert max(higher["long warmup"]) < -0.025
    assert min(higher["no warmup"]) > 0.15
    assert min(higher["no clipping"]) > 0
    assert max(higher["no clipping"]) > 0.1
    assert -0.005 < min(higher["betas 0.9, 0.98"]) < max(higher["betas 0.9, 0.98"]) < 0
    assert sum(difference < 0 for difference in higher["betas 0.9, 0.999"]) == 2
    assert max(map(abs, higher["no decay"] + higher["decay 1"])) < 0.01
    momentum = mean_loss(select(runs, NAMES["SGD with momentum"]))
    assert abs(mean_loss(select(runs, "ablation-no-warmup")) - momentum) < 0.01

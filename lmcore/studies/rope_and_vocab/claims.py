"""What the text says about these runs, as assertions."""

import statistics
from collections.abc import Sequence

import numpy as np

from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.report.tables import select
from lmcore.studies.baseline.experiments import SEEDS as LARGE_SEEDS
from lmcore.studies.headlines.measures import (
    completed,
    final_loss,
    final_score,
    mean_loss,
    paired_losses,
    unigram_level,
)
from lmcore.studies.headlines.tables import BEST_PUBLISHED, ladder_groups
from lmcore.studies.rope_and_vocab.experiments import (
    CHANGES,
    CONFINED,
    POSITION_NAMES,
    POSITIONS,
    RATES,
    RECIPE_NAMES,
    RECIPE_SIZE,
    ROPE,
    SEEDS,
    SIZES,
    START,
    long_warmup,
    recipe_name,
    with_vocabulary,
    within_titles,
)
from lmcore.studies.rope_and_vocab.figures import shown_groups
from lmcore.studies.rope_and_vocab.measures import (
    MIN_SHARE,
    attention_to_self,
    differences,
    loss_per_token,
    mean_by_bin,
    test_differences,
    test_loss,
    tuned_loss,
)


def check_claims(runs: Sequence[Run]) -> None:
    """Assert what the text says about these runs."""
    check_positions(runs)
    check_titles(runs)
    check_beyond(runs)
    check_guesses(runs)
    check_rates(runs)
    check_vocabulary(runs)
    check_recipe(runs)
    check_large(runs)


def check_positions(runs: Sequence[Run]) -> None:
    """Assert what the text says about the kinds of positions."""
    assert all(len(completed(select(runs, name))) == len(SEEDS) for name in POSITION_NAMES)
    assert max(map(abs, differences(runs, "learned", "none"))) < 0.02
    turned = [slug(name) for name in POSITIONS if name.startswith("RoPE")]
    for name in turned:
        assert max(differences(runs, name, "learned")) < -0.05
        assert 0.945 < mean_loss(select(runs, name)) / mean_loss(select(runs, "learned")) < 0.96
        assert max(map(abs, differences(runs, name, slug(ROPE)))) < 0.01
    for run in select(runs, "sinusoidal"):
        assert abs(final_loss(run) / unigram_level(run) - 1) < 0.05
    for run in select(runs, slug("sinusoidal, scaled")):
        assert final_loss(run) < 0.8 * unigram_level(run)
    assert min(differences(runs, slug("sinusoidal, scaled"), "none")) > 0.08
    places = {
        name: mean_by_bin(select(runs, name), "by_place", MIN_SHARE)[1]
        for name in ("none", "learned", slug(ROPE), within_titles(ROPE))
    }
    assert np.ptp([nats[0] for nats in places.values()]) < 0.02
    ahead = places["learned"] - places[slug(ROPE)]
    assert ahead[2:].min() > 0.2
    assert ahead[2:].max() < 0.3


def check_titles(runs: Sequence[Run]) -> None:
    """Assert what the text says about older titles."""
    for name in CONFINED:
        assert min(differences(runs, within_titles(name), slug(name))) > 0.015
    short = differences(runs, within_titles(ROPE), slug(ROPE))
    long = differences(runs, long_warmup(within_titles(ROPE)), long_warmup(slug(ROPE)))
    assert min(short) > 0.05
    assert all(b < 0.5 * a for a, b in zip(short, long, strict=True))
    assert min(long) > 0.015
    assert max(differences(runs, long_warmup(slug(ROPE)), slug(ROPE))) < -0.02
    for name in ("none", "learned", slug(ROPE)):
        for run in select(runs, name):
            across = run.outcome["probe"]["across"]
            assert 0.75 * across["equal"] < across["layers"][0] < across["equal"]
            assert attention_to_self(run)[0] < 20
    for name in CONFINED:
        assert min(attention_to_self(run)[0] for run in select(runs, within_titles(name))) > 40


def check_beyond(runs: Sequence[Run]) -> None:
    """Assert what the text says about windows longer than those that were trained on."""
    nats = {
        name: mean_by_bin(select(runs, slug(name)), "by_position")[1]
        for name in POSITIONS
        if name != "learned"
    }
    trained = START.model.context_length // 32
    assert abs(nats["none"][trained:].mean() - nats["none"][:trained].mean()) < 0.1
    for name in ("RoPE 1e2", ROPE, "RoPE 1e6"):
        assert max(nats[name][:trained] - nats["none"][:trained]) < 0
    ends = [nats[name][-4:].mean() for name in ("RoPE 1e2", "none", ROPE, "RoPE 1e6")]
    assert ends == sorted(ends)
    assert nats["RoPE 1e6"][8:16].mean() > nats["none"][8:16].mean()
    assert nats[ROPE][8:16].mean() < nats["none"][8:16].mean()
    jump = nats["sinusoidal, scaled"][8:].mean() - nats["sinusoidal, scaled"][:trained].mean()
    assert jump > 0.4


def check_guesses(runs: Sequence[Run]) -> None:
    """Assert what the text says about two places."""
    for group in shown_groups(runs).values():
        for run in group:
            probe = run.outcome["probe"]
            assert probe["next_token"]["top"][0]["token"] == "<eos>"
            assert probe["next_token"]["target_probability"] < 0.01
            assert probe["unknowable"]["target_probability"] < 0.001
            assert probe["unknowable"]["top"][0]["token"] == " the"


def check_rates(runs: Sequence[Run]) -> None:
    """Assert what the text says about the learning rates that were tried."""
    learned, turned, inner = (
        [tuned_loss(runs, name, lr) for lr in RATES]
        for name in ("learned", slug(ROPE), within_titles(ROPE))
    )
    assert max(b - a for a, b in zip(learned, turned, strict=True)) < -0.04
    assert 0.06 < min(learned) - min(turned) < 0.08
    assert min(turned) == turned[1]
    assert min(learned) == learned[0]
    assert max(inner) - min(inner) < 0.012


def check_vocabulary(runs: Sequence[Run]) -> None:
    """Assert what the text says about the size of the vocabulary, and of what was gained in all."""
    groups = [select(runs, with_vocabulary(size).name) for size in SIZES]
    assert all(len(completed(group)) == len(SEEDS) for group in groups)
    by_token = [statistics.fmean(loss_per_token(run) for run in group) for group in groups]
    by_byte = [
        statistics.fmean(final_score(run, "validation", "bpb") for run in group) for group in groups
    ]
    assert by_token == sorted(by_token)
    assert by_byte[1:] == sorted(by_byte[1:], reverse=True)
    least = differences(runs, with_vocabulary(2_000).name, with_vocabulary(1_000).name)
    assert min(least) < 0 < max(least)
    small, large = (
        select(runs, with_vocabulary(size).name) for size in (START.model.vocab_size, SIZES[-1])
    )
    assert max(a / b for a, b in paired_losses(large, small)) < 0.9
    assert 0.69 < large[0].records[-1]["step"] / small[0].records[-1]["step"] < 0.7
    plan = large[0].config.model
    assert round(plan.n_parameters / small[0].config.model.n_parameters) == 9
    assert round(100 * plan.vocab_size * plan.d_model / plan.n_parameters) == 95
    unseen = [statistics.fmean(test_loss(run) for run in group) for group in groups]
    assert unseen[1:] == sorted(unseen[1:], reverse=True)
    assert 0.92 < unseen[-1] / unseen[2] < 0.94
    assert 0.94 < unseen[-2] / unseen[2] < 0.95
    leaks = [
        statistics.fmean(test_loss(run) / final_loss(run) for run in group) for group in groups
    ]
    assert max(abs(leak - 1) for leak in leaks[:-2]) < 0.005
    assert 1.01 < leaks[-2] < 1.015
    assert 1.04 < leaks[-1] < 1.045
    gains = {"learned": slug(ROPE), slug(ROPE): long_warmup(slug(ROPE))}
    gains |= {with_vocabulary(4_000).name: with_vocabulary(32_000).name}
    for before, after in gains.items():
        assert (
            max(a / b for a, b in paired_losses(select(runs, after), select(runs, before))) < 0.98
        )
    assert max(map(abs, differences(runs, within_titles(ROPE), "learned"))) < 0.02


def check_recipe(runs: Sequence[Run]) -> None:
    """Assert what the text says about the published recipe and its parts."""
    assert all(len(completed(select(runs, name))) == len(SEEDS) for name in RECIPE_NAMES)
    higher = {change: differences(runs, recipe_name(change), "recipe") for change in CHANGES}
    assert min(higher["learned positions"]) > 0.02
    assert 0.02 < statistics.fmean(higher["learned positions"]) < 0.03  # as public sweeps have it
    assert min(higher["vocabulary of 16k"]) > 0.035
    assert min(test_differences(runs, recipe_name("vocabulary of 16k"), "recipe")) > 0.025
    assert all(-0.006 < difference < -0.002 for difference in higher["8 heads"])
    assert -0.002 < min(higher["6 layers"]) < 0 < max(higher["6 layers"]) < 0.012
    for part in ("LayerNorm", "no decay"):
        assert min(higher[part]) < 0 < max(higher[part])
        assert max(map(abs, higher[part])) < 0.004
    two_layers = differences(runs, "recipe", with_vocabulary(RECIPE_SIZE).name)
    assert max(map(abs, two_layers)) < 0.008
    assert statistics.fmean(two_layers) > 0


def check_large(runs: Sequence[Run]) -> None:
    """Assert what the text says about the baseline's size."""
    recipe, adamw = (select(runs, name) for name in ("large-recipe", "large-adamw-lr0.001"))
    start = [run for run in runs if (run.config.study, run.config.name) == ("baseline", "sgd")]
    assert [len(group) for group in (start, adamw, recipe)] == 3 * [len(LARGE_SEEDS)]
    assert all(0.65 < after / before < 0.66 for after, before in paired_losses(recipe, start))
    assert all(0.945 < after / before < 0.96 for after, before in paired_losses(recipe, adamw))
    tests = [{run.config.seed: test_loss(run) for run in group} for group in (start, adamw, recipe)]
    assert all(0.65 < tests[2][seed] / tests[0][seed] < 0.66 for seed in LARGE_SEEDS)
    assert all(0.95 < tests[2][seed] / tests[1][seed] < 0.965 for seed in LARGE_SEEDS)
    ladder = [paired_losses(group, start) for group in ladder_groups(runs).values()]
    ratios = [statistics.fmean(after / before for after, before in pairs) for pairs in ladder]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] > BEST_PUBLISHED[1] / 1.856  # the challenge's baseline, every token
    assert round(1.314 / 1.401, 2) == 0.94  # as published, corrected to every token
    plans = [run.config.train for run in (*recipe, *adamw)]
    assert len({(p.optimizer, p.schedule, p.batch_size, p.epochs) for p in plans}) == 1
    steps = recipe[0].records[-1]["step"] / adamw[0].records[-1]["step"]
    assert 0.91 < steps < 0.94
    sizes = [group[0].config.model.n_parameters / 1e6 for group in (recipe, adamw)]
    assert [round(size) for size in sizes] == [29, 27]

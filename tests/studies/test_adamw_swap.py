"""The AdamW swap: that its comparisons are fair, and what it says of runs made by hand."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from made import made_score

from lmcore.config import flat_fields
from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.studies.adamw_swap import experiments, figures, measures, probes, tables
from lmcore.studies.baseline import experiments as baseline
from lmcore.studies.headlines.measures import final_loss
from lmcore.studies.headlines.probes import unigram_nats
from lmcore.training.config import EvaluationConfig
from lmcore.training.optimizer import parameter_groups

ROOT = Path(__file__).parents[2]
ADAMW = next(e for e in experiments.compared() if e.name == experiments.NAMES["AdamW"])


def differing(a, b):
    """Return the fields in which two plans of training differ, without those of evaluation."""
    left, right = flat_fields(a), flat_fields(b)
    fields = {name for name in left if left[name] != right[name]}
    return {name for name in fields if not name.startswith("evaluation.")}


# What is compared


def test_each_optimizer_is_tuned_over_as_many_runs():
    counts = Counter(e.name.split("-lr")[0] for e in experiments.sweeps() if "tune-" in e.name)
    assert len(counts) == len(experiments.OPTIMIZERS)
    assert len(set(counts.values())) == 1


@pytest.mark.parametrize("name", list(experiments.OPTIMIZERS))
def test_learning_rates_are_a_factor_of_two_apart(name):
    rates = np.array(experiments.OPTIMIZERS[name].rates)
    np.testing.assert_allclose(rates[1:] / rates[:-1], 2)


def test_whatever_is_tuned_differs_in_its_optimizer_s_own_numbers_alone():
    tuned = {f"optimizer.{name}" for name in ("kind", "lr", "momentum", "weight_decay")}
    for experiment in experiments.tuning():
        assert differing(experiment.train, ADAMW.train) <= tuned


def test_each_optimizer_is_compared_at_the_rate_it_was_tuned_to_on_other_seeds():
    def plans(chosen):
        plain = EvaluationConfig()
        return {replace(e.train, evaluation=plain) for e in chosen if e.name != "sgd-as-given"}

    assert len(plans(experiments.compared())) == len(experiments.OPTIMIZERS)
    assert plans(experiments.compared()) <= plans(experiments.tuning())
    assert not set(experiments.SEEDS) & set(experiments.TUNING_SEEDS)


def test_sgd_as_given_is_the_baseline_s_recipe_at_another_size():
    assert differing(experiments.GIVEN.train, baseline.CHALLENGE) == {"batch_size", "epochs"}


def test_all_sweeps_have_one_budget():
    budgets = {(e.task, e.model, e.train.batch_size, e.train.epochs) for e in experiments.sweeps()}
    assert len(budgets) == 1


def test_each_ablation_changes_one_thing():
    changed = [differing(e.train, ADAMW.train) for e in experiments.ablations()]
    assert {len(fields) for fields in changed} == {1}


def test_no_two_experiments_are_the_same_but_for_their_names():
    everything = experiments.all_experiments()
    assert len({replace(experiment, name="same") for experiment in everything}) == len(everything)


def test_one_seed_of_each_has_every_sweep_once():
    names = Counter(experiment.name for experiment in experiments.sweeps(most=1))
    assert set(names.values()) == {1}
    assert set(names) == {experiment.name for experiment in experiments.sweeps()}


def test_runs_of_the_baseline_s_size_are_no_part_of_the_sweeps():
    swept = {experiment.model for experiment in experiments.sweeps()}
    assert swept.isdisjoint({experiment.model for experiment in experiments.large()})


def test_of_adamw_matrices_in_blocks_decay_and_nothing_else():
    plan = ADAMW.train
    groups = parameter_groups(
        GPT(ADAMW.model), plan.optimizer.weight_decay, plan.optimizer.decay_embeddings
    )
    decays = {group["name"]: group["weight_decay"] for group in groups}
    assert decays == {"hidden": plan.optimizer.weight_decay, "embedding": 0.0, "vector": 0.0}


# What is kept of a model


def test_counting_is_scored_on_the_validation_text(corpus):
    torch.manual_seed(0)
    model = GPT(ModelConfig(vocab_size=320, context_length=32, d_model=16, n_heads=2, d_ff=32))
    result = probes.probe(model, corpus)
    counts = np.zeros(320, int)
    np.add.at(counts, corpus.train.ids, 1)
    expected = unigram_nats(counts, corpus.validation.ids)
    assert result["frequency"]["unigram_nats"] == pytest.approx(expected, rel=1e-12)
    assert json.dumps(result, allow_nan=False)


# What is read off runs


def made_run(name, nats, seed=experiments.SEEDS[0], **changes):
    """Return a run that ends at so many nats for ten characters; at None it diverged."""
    experiment = replace(experiments.variant(name, **changes), seed=seed)

    def score(nats):
        return dict.fromkeys(("validation", "challenge"), made_score(nats))

    metrics = [
        {"step": 0} | score(20.0),
        {"step": 1, "lr": 0.0, "loss": 5.0, "grad_norm": 2.0}
        | {"update_ratios": {"hidden": 0.0, "embedding": 0.1}}
        | score(15.0),
        {"step": 2, "grad_norm": 1.5, "update_ratios": {"hidden": 0.1, "embedding": 0.1}},
    ]
    ends = {"step": 718, "lr": 0.1}
    whole = ends | {"loss": 4.0, "grad_norm": 1.0, "update_ratios": {"hidden": 0.1}}
    top = [{"token": token, "probability": 0.1} for token in "abcdefghij"]
    next_token = {"input": "in", "target": "a", "target_probability": 0.1, "top": top}
    probe = {"next_token": next_token, "frequency": {"unigram_nats": 12.0}}
    environment = {"sessions": [{"commit": "0123456789"}], "cpu_s": 60.0}
    if nats is None:
        metrics.append(ends | {"stop_reason": "diverged: the loss is nan at step 718"})
        return Run(Path(), experiment, metrics, environment, {"diverged": "the loss is nan"})
    outcome = {"test": made_score(nats), "probe": probe}
    return Run(Path(), experiment, [*metrics, whole | score(nats)], environment, outcome)


def tuned_runs(name, ends):
    """Return a run of each learning rate for each list of ends, a list for each seed."""
    rates = experiments.OPTIMIZERS[name].rates
    return [
        made_run(f"tune-{slug(name)}-lr{lr:g}", end, seed, lr=lr)
        for seed, seed_ends in zip(experiments.TUNING_SEEDS, ends, strict=True)
        for lr, end in zip(rates, seed_ends, strict=True)
    ]


def all_runs(end=10.0):
    """Return every sweep's run, all ending alike; one rate of each optimizer diverged."""
    least = {name: contender.rates[0] for name, contender in experiments.OPTIMIZERS.items()}
    wild = {f"tune-{slug(name)}-lr{lr:g}" for name, lr in least.items()}
    wild |= {"ablation-no-clipping"}
    return [
        replace(
            made_run(experiment.name, None if experiment.name in wild else end, experiment.seed),
            config=experiment,
        )
        for experiment in experiments.sweeps()
    ]


@pytest.mark.parametrize("name", list(experiments.OPTIMIZERS))
def test_the_best_rate_ended_lowest_on_average_and_diverged_on_no_seed(name):
    runs = tuned_runs(name, [[9, 8, 5, 6, 1], [9, 8, 8, 6, None]])
    assert measures.best_rate(runs, name) == experiments.OPTIMIZERS[name].rates[3]
    assert measures.tuned_loss(runs, name, experiments.OPTIMIZERS[name].rates[2]) == 0.65


def test_a_run_that_diverged_has_no_loss():
    assert final_loss(made_run("tuned-sgd", None)) is None


def test_an_ablation_is_held_against_the_run_of_its_own_seed():
    name, *_ = experiments.ABLATIONS
    changed = f"ablation-{slug(name)}"
    ends = {101: (12, 10), 102: (14, 11), 103: (None, 10)}
    runs = [made_run(ADAMW.name, tuned, seed) for seed, (_, tuned) in ends.items()]
    runs += [made_run(changed, end, seed) for seed, (end, _) in ends.items()]
    assert measures.differences(runs, name) == pytest.approx([0.2, 0.3])


def test_each_step_is_compared_with_the_first():
    runs = [made_run("sgd-as-given", 20.0), made_run("tuned-adamw", 15.0)]
    rows = {row[0]: row[1:] for row in tables.findings(runs).rows}
    bits = 15 / 20 / math.log(2)
    assert rows["AdamW"] == ("1.500", "0.8333", "1.500", f"{bits:.3f}", "0.750")
    assert rows["SGD as given"][4] == "1.000"
    assert rows["SGD"][0] == "none of 0"


def test_tables_say_how_many_seeds_diverged():
    runs = all_runs()
    rows = {row[0]: row[1:] for row in tables.ablation_table(runs).rows}
    assert rows["no clipping"] == ("none of 3", "none of 0")
    assert rows["no decay"] == ("1.0000", "0.0000")
    assert len(tables.findings(runs).rows) == len(experiments.NAMES)
    assert len(tables.optimizer_table(runs).rows) == len(experiments.NAMES)


def test_every_figure_is_drawn_with_runs_that_diverged_and_says_which():
    runs = all_runs()
    (ax,) = figures.plot_rates(runs).axes
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == len(experiments.OPTIMIZERS)
    for draw in ("plot_loss", "plot_inside", "plot_next_token", "plot_ablations"):
        assert getattr(figures, draw)(runs).axes
    plt.close("all")


def test_a_curve_leaves_out_the_seeds_that_diverged():
    ends = (10.0, None, 12.0)
    runs = [made_run("sgd-as-given", end, seed) for end, seed in zip(ends, (1, 2, 3), strict=True)]
    (ax,) = figures.plot_loss(runs).axes
    (curve,) = [line for line in ax.lines if line.get_label() == "SGD as given"]
    assert curve.get_ydata().tolist() == pytest.approx([2.0, 1.5, 1.1])
    plt.close("all")


# What is committed


@pytest.fixture
def committed(committed_runs):
    """The committed runs of this study."""
    return [run for run in committed_runs if run.config.study == "adamw_swap"]


def test_every_sweep_is_committed(committed):
    assert {run.config for run in committed} >= set(experiments.sweeps())


def test_each_step_links_to_the_folder_of_its_runs_and_names_their_commits(committed):
    for name, *_ in tables.findings(committed).rows:
        folder, commits = name.title.split(" at ")
        assert name.href.endswith(f"/results/{folder}")
        runs = [run for run in committed if f"adamw_swap/{run.config.name}" == folder]
        assert [run.config.seed for run in runs] == list(experiments.SEEDS)
        made_by = {session["commit"] for run in runs for session in run.environment["sessions"]}
        assert {commit[:7] for commit in made_by} == set(commits.split(", "))

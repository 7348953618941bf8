"""Stories: that each experiment changes what it says, and what is read off runs made by hand."""

import json
import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from made import made_score

from lmcore.config import flat_fields, full_name
from lmcore.experiments.experiment import smoke
from lmcore.experiments.run_folder import Run
from lmcore.model.accounting import model_parts
from lmcore.model.gpt import GPT
from lmcore.studies.stories import (
    experiments,
    figures,
    judge,
    measures,
    probes,
    tables,
    text_figures,
)
from lmcore.studies.stories_full_scale.experiments import FULL_SCALE
from lmcore.tasks.stories import prepare

CHANGES = {name: change for group in experiments.GROUPS.values() for name, change in group.items()}
PLAN_OF_SCORES = "train.evaluation."


def differing(a, b):
    """Return the full name of each field in which two experiments differ, names aside."""
    left, right = flat_fields(a), flat_fields(b)
    return {name for name in left if left[name] != right[name]} - {"name"}


# What is compared


@pytest.mark.parametrize("name", list(CHANGES))
def test_an_experiment_differs_from_the_proxy_in_what_it_says_and_nothing_else(name):
    stated = {
        f"{part}.{full_name(getattr(experiments.BASELINE, part), field)}"
        for part in ("task", "model", "train")
        for field in getattr(CHANGES[name], part)
    }
    is_sweep = any(name in group for group in experiments.SWEEPS.values())
    base = experiments.REFERENCE if is_sweep else experiments.BASELINE
    assert differing(experiments.proxy(name), base) <= stated


@pytest.mark.parametrize("groups", [experiments.CURVES, experiments.SWEEPS])
def test_experiments_that_are_compared_read_as_many_tokens(groups):
    names = [name for group in groups.values() for name in group]
    assert len({experiments.proxy(name).train.n_tokens for name in names}) == 1


def test_the_mlps_of_the_proxy_and_of_the_plain_one_have_as_many_weights():
    sizes = [
        sum(part.parameters for part in model_parts(experiments.proxy(name).model))
        for name in ("baseline", "silu-4x")
    ]
    assert sizes[0] == sizes[1]


def test_no_two_experiments_are_the_same_but_for_their_names():
    everything = experiments.all_experiments()
    assert len({replace(each, name="one") for each in everything}) == len(everything)


def test_learning_rates_reach_from_below_the_proxy_s_to_far_above():
    rates = experiments.RATES
    assert min(rates) < experiments.BASELINE.train.optimizer.lr < max(rates) / 10


def test_an_unknown_experiment_is_an_error_that_lists_those_that_exist():
    with pytest.raises(ValueError, match=r"no experiment is called 'best'; there are: baseline, "):
        experiments.proxy("best")


def test_the_log_and_the_full_scale_are_the_sizes_that_were_asked_for():
    log, full = experiments.LOG, FULL_SCALE
    assert log.train.steps * log.train.batch_size * log.model.context_length == 16_384_000
    assert full.train.n_tokens == 327_680_000
    shape = full.model
    assert (shape.d_model, shape.d_ff, shape.n_layers, shape.n_heads) == (512, 1344, 4, 16)
    assert (shape.vocab_size, shape.context_length) == (10_000, 256)


# What is kept of a model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return prepare(smoke(experiments.BASELINE).task, tmp_path_factory.mktemp("stories"))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return GPT(smoke(experiments.BASELINE).model)


def test_counting_predicts_both_splits_alike_unless_another_tokenizer_made_one(corpus, tmp_path):
    right = probes.counting(corpus)
    task = replace(smoke(experiments.BASELINE).task, validation_tokenizer="validation")
    wrong = probes.counting(prepare(task, tmp_path))
    assert abs(right["validation"] - right["train"]) < 0.1
    assert wrong["validation"] - wrong["train"] > 0.5
    assert wrong["train"] == right["train"]


def test_texts_are_measured_by_step_by_sampling_and_by_stride(corpus, model):
    kept = probes.history(iter([(0, model)]), model, corpus)
    assert [entry["step"] for entry in kept["steps"]] == [0]
    drawn = {(entry["temperature"], entry["top_p"]) for entry in kept["sampling"]}
    assert len(drawn) == 1 + 4 * len(probes.TOP_PS)
    assert {entry["n"] for entry in kept["strides"]} == {len(corpus.validation.ids)}
    assert json.dumps(kept | probes.probe(model, corpus), allow_nan=False)


def test_the_most_probable_text_is_the_same_each_time(corpus, model):
    kept = probes.history(iter([]), model, corpus)["sampling"]
    [greedy] = [entry for entry in kept if entry["temperature"] == 0]
    assert len(set(greedy["texts"])) == 1


def test_a_judge_with_equal_odds_gives_every_token_the_same_loss(corpus):
    uniform = GPT(replace(smoke(experiments.BASELINE).model, tie_embeddings=False))
    torch.nn.init.zeros_(uniform.head_weight)
    text = corpus.train_texts[0]
    [loss, same] = judge.judged(uniform, corpus, [text, "", text])
    n_tokens = len(corpus.tokenizer.encode(text))
    assert loss == same == pytest.approx(math.log(400) * n_tokens / len(text), rel=1e-5)
    runs = [made_run("baseline", [4.0, 3.0])]
    settings = {(t, p) for t in probes.TEMPERATURES for p in probes.TOP_PS}
    assert judge.by_sampling(uniform, corpus, runs).keys() == settings


# What is read off runs


def made_run(name, losses, seed=experiments.SEEDS[0]):
    """Return a run of an experiment with these validation losses; at None it diverged."""
    experiment = replace(experiments.proxy(name), seed=seed)
    steps = [50 * number for number in range(len(losses))]
    records = [
        {"step": step, "tokens": 1_024 * step, "loss": 1.0, "grad_norm": 1.0}
        | ({} if loss is None else {"validation": made_score(5 * loss)})
        for step, loss in zip(steps, losses, strict=True)
    ]
    metrics = dict.fromkeys(text_figures.METRICS | text_figures.ENDED, 0.5)
    entry = {"metrics": metrics, "texts": ["Once upon a time"]}
    counting = {"train": 5.0, "validation": 5.5}
    history = {
        "steps": [entry | {"step": step} for step in steps],
        "sampling": [
            entry | {"temperature": t, "top_p": p}
            for t in probes.TEMPERATURES
            for p in probes.TOP_PS
        ],
        "strides": [{"stride": 128, "nats": 3.0, "n": 9}],
    }
    outcome = {
        "test": made_score(10.0), "probe": entry | {"counting": counting}, "history": history,
    }  # fmt: skip
    if losses[-1] is None:
        outcome = {"diverged": "the loss is nan"}
    environment = {"sessions": [{"commit": "0123456789"}], "data": {"train_tokens": 10_240}}
    return Run(Path(), experiment, records, environment, outcome)


def test_with_early_stopping_the_best_score_counts_and_without_it_the_last():
    losses = [4.0, 2.0, 3.0]
    assert measures.final_loss(made_run("few-stories", losses)) == 3.0
    assert measures.final_loss(made_run("few-stories-early-stopping", losses)) == 2.0


def test_a_run_that_diverged_has_no_loss_and_makes_the_mean_infinite():
    wild = made_run("lr-0.128", [4.0, None])
    assert measures.final_loss(wild) is None
    assert measures.test_loss(wild) is None
    assert measures.mean_loss([wild, made_run("lr-0.128", [4.0, 3.0])]) == math.inf


def test_a_run_that_ends_worse_than_guessing_has_learned_nothing():
    assert measures.learned(made_run("lr-0.128", [7.0, 7.5]))
    worse = made_run("lr-0.128", [7.0, 62.0])
    assert not measures.learned(worse)
    assert measures.mean_loss([worse]) == math.inf


def test_a_change_is_held_against_the_reference_of_its_own_seed():
    first, second = experiments.SEEDS[:2]
    runs = [made_run("reference", [4.0, 3.0], first), made_run("reference", [4.0, 2.0], second)]
    runs += [made_run("no-norm", [4.0, 3.5], first), made_run("no-norm", [4.0, 2.7], second)]
    assert measures.differences(runs, "no-norm") == pytest.approx([0.5, 0.7])


def test_a_change_at_another_rate_is_held_against_the_reference_at_that_rate():
    runs = [made_run("reference", [3.0]), made_run("lr-0.001", [4.0])]
    runs += [made_run(name, [4.5]) for name in ("no-norm", "no-norm-lr-0.001", "batch-1-lr")]
    assert measures.differences(runs, "no-norm") == pytest.approx([1.5])
    assert measures.differences(runs, "no-norm-lr-0.001") == pytest.approx([0.5])
    assert measures.differences(runs, "batch-1-lr") == pytest.approx([1.5])


def test_the_gap_is_the_score_minus_the_batches_just_before():
    run = made_run("few-stories", [4.0, 2.0, 3.5])
    assert measures.gap(run, 100) == pytest.approx(2.5)
    assert measures.lowest_step(run) == 50
    assert measures.passes(run) == 10.0
    assert measures.counting_gap(run) == 0.5


def test_tables_and_figures_are_drawn_with_runs_that_diverged_and_runs_that_lack():
    runs = [made_run(name, [4.0, 3.0, 3.5]) for name in CHANGES]
    runs = [run for run in runs if run.config.name != "batch-1"]
    runs += [made_run("lr-0.128", [4.0, 3.0, None], experiments.SEEDS[1])]
    (ax,) = figures.plot_rates(runs).axes
    assert [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    for name in ("overfitting", "repairs", "widths", "dropout", "batches", "changes"):
        assert getattr(figures, f"plot_{name}")(runs).axes
    assert figures.plot_group(runs, "norms and positions").axes
    for name in ("text", "sampling"):
        assert len(getattr(text_figures, f"plot_{name}")(runs).axes) == 6
    assert text_figures.plot_loss_and_text(text_figures.healthy_runs(runs)).axes
    log = [replace(runs[0], config=experiments.LOG)]
    assert figures.plot_log(log).axes
    assert len(tables.samples_table(log, "log").rows) >= 3
    plt.close("all")
    for group in experiments.GROUPS:
        assert len(tables.changes_table(runs, group).rows) >= 2
    assert len(tables.overfitting_table(runs).header) == 1 + len(tables.TRIO)
    assert len(tables.stride_table(runs).rows) == 1
    rows = tables.findings(runs).rows
    assert [row[0] for row in rows] == [tables.shown(name) for name in tables.FINDINGS]
    rates = [row[0].value for row in tables.rates_table(runs).rows]
    assert rates == sorted(rates)

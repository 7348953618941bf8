"""RoPE and vocabulary size: its comparisons are fair; what it says of runs made by hand."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from made import made_score

from lmcore.config import flat_fields
from lmcore.evaluation.attention_maps import attention_maps
from lmcore.experiments.run_folder import Run
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.studies.adamw_swap import experiments as adamw_swap
from lmcore.studies.rope_and_vocab import experiments, figures, measures, probes, tables
from lmcore.studies.rope_and_vocab.experiments import ROPE, SEEDS, SIZES, slug

ROOT = Path(__file__).parents[2]
BY_NAME = {experiment.name: experiment for experiment in reversed(experiments.all_experiments())}


def differing(a, b):
    """Return the fields of model and training in which two experiments differ."""
    left, right = flat_fields(a), flat_fields(b)
    fields = {name for name in left if left[name] != right[name]}
    return {name.split(".", 1)[1] for name in fields if name.startswith(("model.", "train."))}


# What is compared


@pytest.mark.parametrize("name", [n for n in experiments.POSITION_NAMES if n != "learned"])
def test_positions_differ_from_learned_ones_in_themselves_and_nothing_else(name):
    allowed = {"positions", "rope_base", "embedding_scale"} | (
        {"within_documents"} if "within" in name else set()
    )
    assert differing(BY_NAME[name], BY_NAME["learned"]) <= allowed


@pytest.mark.parametrize("name", experiments.CONFINED)
def test_within_titles_is_one_change_to_the_same_positions(name):
    confined = BY_NAME[experiments.within_titles(name)]
    assert differing(confined, BY_NAME[slug(name)]) == {"within_documents"}


@pytest.mark.parametrize("name", [slug(ROPE), experiments.within_titles(ROPE)])
def test_a_longer_warmup_is_one_change(name):
    longer = BY_NAME[experiments.long_warmup(name)]
    assert differing(longer, BY_NAME[name]) == {"schedule.warmup_steps"}


@pytest.mark.parametrize("size", SIZES)
def test_vocabularies_differ_in_their_size_and_read_the_same_titles(size):
    experiment, other = experiments.with_vocabulary(size), experiments.with_vocabulary(4_000)
    assert differing(experiment, other) <= {"vocab_size"}
    assert replace(experiment.task, vocab_size=4_000) == other.task


@pytest.mark.parametrize("name", experiments.CHANGES)
def test_each_part_of_the_recipe_is_put_back_alone(name):
    changed = BY_NAME[experiments.recipe_name(name)]
    assert len(differing(changed, BY_NAME["recipe"])) == 1


def test_all_sweeps_read_as_many_titles_once_in_batches_of_one_size():
    sweeps = experiments.sweeps()
    budgets = {(e.train.batch_size, e.train.epochs, e.model.context_length) for e in sweeps}
    titles = {replace(e.task, vocab_size=0) for e in sweeps}
    assert len(budgets) == len(titles) == 1


def test_the_start_is_adamw_as_its_own_study_tuned_it():
    tuned = next(e for e in adamw_swap.compared() if e.name == "tuned-adamw")
    assert differing(experiments.START, tuned) <= {"evaluation.eval_at", "evaluation.log_every"}
    assert experiments.START.task == tuned.task


def test_rates_are_tried_around_the_one_that_is_taken_on_a_seed_of_their_own():
    low, taken, high = experiments.RATES
    assert (low * 2, high / 2) == (taken, taken)
    assert {e.train.optimizer.lr for e in experiments.sweeps() if e.seed in SEEDS} == {taken}
    rates = Counter(e.name.split("-lr")[0] for e in experiments.tuning())
    assert set(rates.values()) == {3}
    assert {e.seed for e in experiments.tuning()} == {experiments.TUNING_SEED}
    assert experiments.TUNING_SEED not in SEEDS


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


# What is kept of a model


def some_model(**changes):
    torch.manual_seed(0)
    shape = {"context_length": 32, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 32}
    return GPT(ModelConfig(vocab_size=320, dropout=0.0, **shape | changes)).eval()


@pytest.mark.parametrize("positions", ["learned", "rope"])
def test_a_probe_can_be_written_and_looks_beyond_the_trained_length_where_it_can(corpus, positions):
    result = probes.probe(some_model(positions=positions), corpus)
    assert json.dumps(result, allow_nan=False)
    assert ("by_position" in result) == (positions == "rope")
    assert "across" in result
    within = probes.probe(some_model(), replace(corpus, within_documents=True))
    assert not {"across", "by_position"} & set(within)


def test_a_title_s_map_is_the_attention_to_itself_and_before_in_percent(corpus):
    model, ids = some_model(), [corpus.eos_id, 5, 6, 7]
    result = probes.title_map(model, corpus, ids)
    weights = attention_maps(model, torch.tensor([ids]))[:, 0]
    assert result["tokens"][0] == "<eos>"
    for layer, heads in enumerate(result["percent"]):
        for head, rows in enumerate(heads):
            assert [len(row) for row in rows] == [1, 2, 3, 4]
            for i, row in enumerate(rows):
                expected = 100 * weights[layer, head, i, : i + 1].numpy()
                np.testing.assert_allclose(row, expected, atol=0.5)


def test_a_title_longer_than_the_context_is_cut(corpus):
    assert len(probes.title_map(some_model(), corpus, [5] * 40)["tokens"]) == 32


def test_attention_to_older_titles_is_counted_token_by_token(corpus):
    model = some_model()
    with torch.no_grad():  # every key is as good as every other
        for block in model.blocks:
            for p in block.attention.parameters():
                p.zero_()
    result = probes.across(model, corpus)
    rows = min(probes.ROWS_LOOKED_AT, (len(corpus.validation.ids) - 1) // 32)
    shares = []
    for row in corpus.validation.ids[: rows * 32].reshape(rows, 32):
        begins = 0
        for i, id in enumerate(row):
            begins = i if id == corpus.eos_id else begins
            shares.append(begins / (i + 1))
    assert result["layers"] == pytest.approx([np.mean(shares)] * 2, abs=1e-4)
    assert result["equal"] == pytest.approx(np.mean(shares), abs=1e-4)


# What is read off runs


def made_run(experiment, nats=10.0):
    """Return a run that ends at so many nats for ten characters; at None it diverged."""
    environment = {"sessions": [{"commit": "0123456789"}], "training_s": 71.8}
    if nats is None:
        return Run(Path(), experiment, [{"step": 718}], environment, {"diverged": "nan"})
    score = made_score(nats)
    top = [{"token": token, "probability": 0.1} for token in "abcdefghij"]
    guess = {"input": "in", "target": "a", "target_probability": 0.1, "top": top}
    rows = [[100], [40, 60]]
    probe = {
        "next_token": guess,
        "unknowable": guess,
        "frequency": {"unigram_nats": 12.0},
        "by_place": {"nats": [3000.0, 2000.0, 1.0], "n": [1000, 1000, 1]},
        "title": {"tokens": ["<eos>", " a"], "percent": [[rows] * 4] * 2},
    }
    if not experiment.train.within_documents:
        probe["across"] = {"layers": [0.3, 0.2], "equal": 0.5}
        if experiment.model.positions != "learned":
            probe["by_position"] = {"width": 32, "nats": [9.0, 8.0], "n": [3, 4]}
    metrics = [{"step": 718, "validation": score, "challenge": score}]
    return Run(Path(), experiment, metrics, environment, {"test": score, "probe": probe})


def all_runs(diverged=()):
    """Return every sweep's run, all ending alike but for those that diverged."""
    return [
        made_run(experiment, None if experiment.name in diverged else 10.0)
        for experiment in experiments.sweeps()
    ]


def test_differences_are_taken_seed_by_seed_and_leave_out_what_diverged():
    ends = {201: (12, 10), 202: (14, 11), 203: (None, 10)}
    runs = [made_run(replace(BY_NAME["none"], seed=s), a) for s, (a, _) in ends.items()]
    runs += [made_run(replace(BY_NAME["learned"], seed=s), b) for s, (_, b) in ends.items()]
    assert measures.differences(runs, "none", "learned") == pytest.approx([0.2, 0.3])


def test_means_by_bin_leave_out_bins_with_few_tokens():
    bins, nats = measures.mean_by_bin([made_run(BY_NAME["none"])] * 2, "by_place", 0.05)
    assert (bins.tolist(), nats.tolist()) == ([0, 1], [3.0, 2.0])


def test_tables_hold_a_row_for_each_kind_and_say_what_diverged():
    runs = all_runs({"sinusoidal", "vocabulary-8000"})
    rows = {row[0]: row[1:] for row in tables.positions_table(runs).rows}
    assert list(rows) == list(experiments.POSITIONS)
    assert rows["sinusoidal"][:3] == ("none of 3", "none of 0", "not run")
    assert rows["none"][:4] == ("1.0000", "0.0000", "1.0000", "0.0000")
    sizes = {row[0]: row[1:] for row in tables.vocabulary_table(runs).rows}
    assert list(sizes) == [f"{size:,}" for size in SIZES]
    assert sizes["8,000"][:3] == ("none of 0", "none of 3", "none of 3")
    assert sizes["4,000"][:4] == ("2.000", "1.0000", "0.721", "1.0000")
    assert sizes["4,000"][-1] == "100"
    seen = {row[0]: row[1:] for row in tables.attention_table(runs).rows}
    assert seen["learned"] == ("30.0 %", "20.0 %", "60.0 %", "60.0 %")
    assert seen["learned, within titles"] == ("", "", "60.0 %", "60.0 %")
    assert seen["equal attention to all tokens so far"] == ("50.0 %", "50.0 %", "", "")
    longer_warmups = {row[0]: row[1:] for row in tables.warmup_table(runs).rows}
    assert longer_warmups["144 steps"] == ("1.0000", "1.0000", "0.0000", "60.0 %", "60.0 %")
    assert list(longer_warmups) == ["36 steps", "144 steps"]
    apart = {row[0]: row[1:] for row in tables.recipe_table(runs).rows}
    assert list(apart) == ["nothing", *experiments.CHANGES]
    assert apart["nothing"] == ("1.0000", "", "4.89")
    assert apart["vocabulary of 16k"] == ("1.0000", "0.0000", "2.84")
    assert len(tables.tuning_table(runs).rows) * 3 == len(experiments.tuning())


def test_each_step_is_compared_with_the_first_and_links_to_its_runs():
    rows = [row for row in tables.findings(all_runs()).rows]
    assert [row[0] for row in rows] == list(experiments.STEPS)
    assert {row[5] for row in rows} == {"1.000"}
    titles = [f"rope_and_vocab/{name} at 0123456" for name in experiments.STEPS.values()]
    assert [row[0].title for row in rows] == titles


FIGURES = {
    "plot_positions": {"sinusoidal", "none-within-titles"},
    "plot_places": {"none", "rope-1e4-within-titles"},
    "plot_beyond": {"sinusoidal"},
    "plot_vocabulary": {"vocabulary-8000"},
    "plot_title": {"sinusoidal"},
    "plot_recipe": {"recipe-8-heads"},
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_where_runs_diverged(name):
    assert getattr(figures, name)(all_runs(FIGURES[name])).axes
    plt.close("all")


@pytest.mark.parametrize("which", ["next_token", "unknowable"])
def test_guesses_have_a_panel_for_each_of_four_models(which):
    fig = figures.plot_guesses(all_runs(), which)
    shown = [ax.get_title() for ax in fig.axes if ax.get_title()]
    assert shown == ["none", "learned", ROPE, "RoPE, within titles"]
    plt.close(fig)


# What is committed


@pytest.fixture
def committed(committed_runs):
    """The committed runs of this study, and the large ones that it compares with."""
    return [
        run
        for run in committed_runs
        if run.config.study == "rope_and_vocab"
        or run.config.name.startswith("large-adamw-")
        or (run.config.study, run.config.name) == ("baseline", "sgd")
    ]


def test_every_sweep_is_committed(committed):
    assert {run.config for run in committed} >= set(experiments.sweeps())

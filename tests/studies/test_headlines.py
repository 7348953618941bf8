"""What studies of headlines show of a model, beside what can be counted by hand."""

import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from made import as_tokens, made_score

from lmcore.evaluation.scores import score
from lmcore.experiments.run_folder import Run
from lmcore.generation.probabilities import next_probabilities
from lmcore.model.config import ModelConfig
from lmcore.model.gpt import GPT
from lmcore.report.tables import validation
from lmcore.studies import study_called
from lmcore.studies.baseline import experiments as baseline
from lmcore.studies.headlines import diagrams, figures, measures, probes, tables


def test_a_frequency_model_costs_what_its_counts_say():
    counts, ids = np.array([2, 0, 5]), np.array([0, 1, 2])
    expected = -(math.log(3 / 10) + math.log(1 / 10) + math.log(6 / 10))
    assert probes.unigram_nats(counts, ids) == pytest.approx(expected, rel=1e-12)


def test_the_guess_is_what_follows_the_first_eleven_validation_tokens(corpus):
    torch.manual_seed(0)
    model = GPT(ModelConfig(vocab_size=320, context_length=32, d_model=16, n_heads=2, d_ff=32))
    result = probes.next_token(model, corpus)
    ids = [int(id) for id in corpus.validation.ids[:12]]
    expected = next_probabilities(model, ids[:-1])
    best = expected.sort(descending=True)
    assert result["input"] + result["target"] == corpus.tokenizer.decode(ids)
    assert result["target_probability"] == expected[ids[-1]]
    assert [e["probability"] for e in result["top"]] == best.values[:10].tolist()
    assert result["top"][0]["token"] == corpus.tokenizer.decode(best.indices[:1].tolist())


def test_bars_are_the_first_seed_s_and_marks_the_others_where_they_name_the_token(smoke_run):
    _, run = smoke_run
    result = run.outcome["probe"]["next_token"]
    other = {"top": [{"token": result["top"][1]["token"], "probability": 0.25}]}
    others = replace(run, outcome={"probe": {"next_token": other}})
    fig, ax = plt.subplots()
    figures.draw_next_token(ax, [run, others], n=3)
    assert [bar.get_width() for bar in ax.patches] == [e["probability"] for e in result["top"][:3]]
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[0.25, 1]]]
    plt.close(fig)


def test_the_level_of_counting_is_in_the_unit_of_the_score(smoke_run):
    _, run = smoke_run
    nats = run.outcome["probe"]["frequency"]["unigram_nats"]
    assert measures.unigram_level(run) * validation(run).characters == pytest.approx(nats)


# Where the loss is


def some_model(corpus, **changes):
    torch.manual_seed(0)
    shape = {"context_length": 32, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 32}
    model = GPT(ModelConfig(vocab_size=320, dropout=0.0, **shape | changes)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.5)
    return model


@pytest.mark.parametrize("within", [False, True])
def test_the_loss_by_place_is_the_score_taken_apart_by_titles_as_they_read(corpus, within):
    corpus = replace(corpus, within_documents=within)
    model, text = some_model(corpus), corpus.validation
    result = probes.by_place(model, corpus)
    whole = score(model, text, corpus.eos_id, within)
    lengths = np.diff([*text.documents, len(text.ids)])
    assert sum(result["nats"]) == pytest.approx(whole.nats, rel=1e-4)
    assert result["n"] == [int((lengths > place).sum()) for place in range(lengths.max())]


def test_the_loss_by_position_at_the_trained_length_is_the_score_taken_apart(corpus):
    model, text = some_model(corpus, positions="rope"), corpus.validation
    result = probes.by_position(model, corpus, 32, 8)
    whole = score(model, text, corpus.eos_id)
    full, rest = divmod(len(text.ids), 32)
    assert sum(result["nats"]) == pytest.approx(whole.nats, rel=1e-4)
    assert result["n"] == [8 * full + min(max(rest - 8 * bin, 0), 8) for bin in range(4)]


def test_beyond_the_trained_length_a_bin_holds_what_a_longer_window_costs(corpus):
    model, text = some_model(corpus, positions="rope"), corpus.validation
    longer = GPT(replace(model.config, context_length=64)).eval()
    longer.load_state_dict(model.state_dict())
    before = torch.from_numpy(np.concatenate([[corpus.eos_id], text.ids[:63]]).astype(np.int64))
    with torch.no_grad():
        chances = longer(before[None])[0].log_softmax(-1)
    nats = -chances[torch.arange(64), torch.from_numpy(text.ids[:64].astype(np.int64))]
    one_window = replace(corpus, validation=as_tokens(text.ids[:64]))
    result = probes.by_position(model, one_window, 64, 16)
    np.testing.assert_allclose(result["nats"], nats.view(4, 16).sum(1), atol=0.01)


def test_a_guess_within_titles_sees_its_own_title_and_across_them_what_came_before(corpus):
    model, end = some_model(corpus), corpus.eos_id
    other, title = [5, 6, 7, end], [8, 9]
    within = replace(corpus, within_documents=True)
    alone = probes.guess(model, corpus, [end, *title, 10])["top"]
    assert probes.guess(model, within, [*other, *title, 10])["top"] == alone
    assert probes.guess(model, corpus, [*other, *title, 10])["top"] != alone
    assert probes.guess(model, within, [*title, 10]) == probes.guess(model, corpus, [*title, 10])


# What is read off runs


def ended(study, name, seed, nats):
    """Return a run that ends at so many nats for ten characters; at None it diverged."""
    experiment = replace(baseline.all_experiments((seed,))[0], study=study, name=name)
    environment = {"sessions": [{"commit": f"{seed}abcdef"}]}
    scores = {} if nats is None else dict.fromkeys(("validation", "challenge"), made_score(nats))
    return Run(Path(), experiment, [{"step": 9} | scores], environment, {})


def test_steps_are_shown_as_ratios_to_the_first_by_seed_and_link_to_their_runs():
    runs = [ended("s", name, seed, nats) for name, seed, nats in (
        ("a", 1, 20.0), ("a", 2, 10.0), ("b", 1, 10.0), ("b", 2, 6.0), ("c", 1, None),
    )]  # fmt: skip
    table = tables.steps_table("steps", {"first": "a", "second": "b", "third": "c"}, runs)
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows["first"]["ratio"] == "1.000"
    assert rows["second"]["ratio"] == "0.550 ± 0.071"  # of 0.5 and 0.6
    assert rows["second"]["nats/character"] == "0.800 ± 0.283"
    assert rows["second"]["coverage"] == "0.8333"
    second = table.rows[1][0]
    assert second.href.endswith("/results/s/b")
    assert second.title == "s/b at 1abcdef, 2abcdef"
    assert rows["third"]["ratio"] == "none of 0"
    assert rows["third"]["nats/character"] == "none of 1"


def test_the_ladder_holds_steps_that_were_run_beside_what_is_published_of_them():
    steps = list(tables.LADDER.items())
    first, (shown, (where, (number, corrected))) = steps[0][1], steps[2]
    runs = [ended(*first[0], seed, 20.0) for seed in (1, 2)] + [ended(*where, 2, 15.0)]
    runs.append(ended("another study", where[1], 1, 1.0))
    table = tables.ladder(runs)
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert list(rows) == [steps[0][0], shown]
    assert rows[shown]["ratio"] == "0.750"
    assert rows[shown]["seeds"] == "1"
    assert rows[shown]["published challenge"] == f"{number:.3f}"
    assert rows[shown]["published ratio"] == f"{corrected / first[1][1]:.3f}"
    assert table.rows[1][0].title == f"{'/'.join(where)} at 2abcdef"


def test_a_step_of_which_nothing_is_published_has_no_number_there():
    [(shown, (where, _))] = [item for item in tables.LADDER.items() if item[1][1] is None]
    first = next(iter(tables.LADDER.values()))[0]
    table = tables.ladder([ended(*first, 1, 20.0), ended(*where, 1, 15.0)])
    row = dict(zip(table.header, table.rows[1], strict=True))
    assert (row["baseline's size"], row["published challenge"], row["published ratio"]) == (
        shown, "", "",
    )  # fmt: skip


@pytest.mark.parametrize("where", [where for where, _ in tables.LADDER.values()])
def test_each_step_of_the_ladder_is_an_experiment_of_the_baseline_s_size(where):
    study, name = where
    (experiment, *_) = [e for e in study_called(study).experiments() if e.name == name]
    given = baseline.BASELINE
    same = {"context_length", "d_model", "d_ff", "dropout"}
    assert {f: getattr(experiment.model, f) for f in same} == {
        f: getattr(given.model, f) for f in same
    }
    titles = replace(experiment.task, vocab_size=given.task.vocab_size)
    assert titles == given.task
    assert (experiment.train.batch_size, experiment.train.epochs) == (64, 7)


def ladder_runs():
    """Return runs of every step of the ladder: 20, 16, 12 and 10 nats for ten characters."""
    return [
        ended(*where, seed, nats + seed / 10)
        for (where, _), nats in zip(tables.LADDER.values(), (20.0, 16.0, 12.0, 10.0), strict=True)
        for seed in (1, 2)
    ]


def test_the_waterfall_goes_down_from_step_to_step_and_marks_what_is_published():
    (ax,) = figures.plot_ladder(ladder_runs()).axes
    spans = [(bar.get_x() + bar.get_width(), bar.get_x()) for bar in ax.patches]
    ends, starts = zip(*spans, strict=True)
    assert starts[0] == 1.0
    assert starts[1:] == pytest.approx(ends[:-1])
    assert ends[-1] == pytest.approx(sum(x / y for x, y in ((10.1, 20.1), (10.2, 20.2))) / 2)
    marks = [line for line in ax.lines if line.get_marker() == "D"]
    published = [known for _, known in tables.LADDER.values() if known][1:]
    assert [mark.get_xdata()[0] for mark in marks] == pytest.approx(
        [corrected / 1.856 for _, corrected in published]
    )
    plt.close("all")


def test_a_step_without_runs_is_left_out_of_the_waterfall():
    runs = [run for run in ladder_runs() if run.config.name != "large-sgd-lr1"]
    (ax,) = figures.plot_ladder(runs).axes
    assert len(ax.patches) == len(tables.LADDER) - 1
    plt.close("all")


def test_lower_is_the_mean_of_seeds_in_percent():
    runs = [ended("s", "a", 1, 10.0), ended("s", "a", 2, 10.0)]
    others = [ended("s", "b", 1, 20.0), ended("s", "b", 2, 12.5)]
    assert tables.lower(runs, others, 0) == "35 ± 21 %"


def test_the_model_is_drawn_with_the_shapes_it_has():
    config = replace(baseline.BASELINE.model, n_layers=3)
    layers = diagrams.layers_of(config, 8)
    assert layers[0] == ("token ids", "8 × 128")
    assert layers[-1][1] == "8 × 128 × 16,000"
    assert "8 heads of 64" in layers[3][0]
    (ax,) = diagrams.plot_model(config, 8).axes
    assert any("3 times" in text.get_text() for text in ax.texts)
    plt.close("all")


def test_the_drawn_score_depends_on_distance_alone():
    scores = diagrams.plot_rope(1e4, 32).axes[-1]
    first, *others = [line.get_ydata() for line in scores.lines]
    assert len(others) == 2
    for other in others:
        assert np.allclose(first, other, atol=2e-3)
    plt.close("all")

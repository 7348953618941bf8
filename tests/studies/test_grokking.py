"""The grokking study: what it says of a model and of runs, on models and runs made by hand."""

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from made import arithmetic_shape, table_of

from lmcore.config import with_fields
from lmcore.evaluation.scores import Answers
from lmcore.experiments.experiment import slug
from lmcore.experiments.run_folder import Run
from lmcore.model.gpt import GPT
from lmcore.report.tables import mean_sd
from lmcore.studies.grokking import circuits, experiments, figures, live, measures, probes, tables
from lmcore.tasks.modular import OPERATIONS, ModularConfig
from lmcore.tasks.sentence import SentenceConfig
from lmcore.training.early_stopping import ACCURATE_EVALUATIONS
from lmcore.training.records import Record

# What is kept of a trained model


@torch.no_grad()
def test_a_model_that_knows_what_follows_writes_the_sentence_beyond_its_context():
    data = SentenceConfig(sentence="machine").prepare()
    shape = {"vocab_size": 7, "context_length": 3, "d_model": 7, "n_heads": 1, "norm": "none"}
    shape |= {"tie_embeddings": False, "initialisation": "zero_residual"}  # its block adds nothing
    model = GPT(replace(experiments.SENTENCE.model, **shape))
    model.position_embedding.weight.zero_()
    model.token_embedding.weight.copy_(torch.eye(7))
    ids = data.config.ids("machine")
    model.head.weight.zero_()[ids[1:], ids[:-1]] = 1
    assert probes.probe(model, data) == {"written": "machine"}


@pytest.mark.parametrize(
    ("table", "shape"),
    [
        ({"operations": ("+", "-")}, {}),
        ({"train_fraction": None, "n_samples": 100}, {}),
        ({}, {"n_layers": 2}),
    ],
)
def test_only_one_layer_and_one_operation_split_cleanly_are_looked_into(table, shape):
    config = replace(table_of("+", p=7), **table)
    model = GPT(arithmetic_shape(7, vocab_size=config.vocab_size, **shape))
    assert probes.probe(model, config.prepare()) == {}


# What is read off runs


def answers(n_correct):
    """Return the score of a hundred answers of which so many are right."""
    return Answers(nats=1.0, n=100, n_correct=n_correct, logit_rms=1.0)


def made_run(shares, name="steady", diverged=False):
    """Return a run scored every ten steps with these validation accuracies in percent."""
    metrics = [
        {"step": 10 * i, "elapsed_s": i / 10, "validation": answers(share)}
        for i, share in enumerate(shares)
    ]
    if diverged:
        metrics.append({"step": 10 * len(shares), "elapsed_s": 9.0, "stop_reason": "diverged"})
    seconds = {"training_s": metrics[-1]["elapsed_s"], "cpu_s": metrics[-1]["elapsed_s"]}
    return Run(Path(), replace(experiments.STEADY, name=name), metrics, seconds, {})


def solving(step, name):
    """Return a run that solves its table at this step, or diverges before."""
    shares = 20 * [1] if step is None else [1] * (step // 10) + ACCURATE_EVALUATIONS * [100]
    return made_run(shares, name, diverged=step is None)


def test_a_run_that_diverged_has_no_share_of_right_answers_and_tables_say_so():
    run = replace(made_run([1], diverged=True), outcome={"diverged": "the loss is nan at step 9"})
    assert measures.outcome_accuracy(run, "test") is None
    assert measures.percent([None, 0.5, 1.0]) == "75.0 ± 35.4 % (2 of 3)"
    assert tables.speed_table([run]).rows[0][-1] == "none of 1"
    assert len(figures.plot_smallest([run]).axes) == 1
    plt.close("all")


def test_an_operation_that_has_no_waves_is_not_searched_for_them():
    config = table_of("/", p=7)
    harder = next(name for name in OPERATIONS if name not in circuits.SIGNS)
    data = replace(config, operations=(harder,)).prepare()
    assert probes.probe(GPT(arithmetic_shape(7)), data) == {}


def marks(text):
    return [mark == "+" for mark in text]


@given(good=st.lists(st.booleans(), min_size=1, max_size=30))
@example(good=marks(".+++++"))
@example(good=marks(".++.+++++.+++++"))
@example(good=marks(".++++."))
@example(good=marks(".++++"))
@example(good=marks("....."))
def test_a_table_is_solved_where_its_first_five_good_evaluations_in_a_row_begin(good):
    start = "".join(".+"[is_good] for is_good in good).find(ACCURATE_EVALUATIONS * "+")
    expected = None if start < 0 else 10 * start
    assert measures.solved_at(made_run([99 if is_good else 98 for is_good in good])) == expected


def test_a_level_is_reached_at_its_first_crossing_or_never():
    run = made_run([1, 60, 20, 80])
    reached = [measures.first_step_at(run, level, "validation") for level in (0.0, 0.6, 0.7, 0.9)]
    assert reached == [0, 10, 30, None]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1, 3], "2 ± 1"),
        ([5, 5], "5"),
        ([1, None, 3], "2 ± 1 (2 of 3)"),
        ([None, None], "none of 2"),
        ([], "none of 0"),
    ],
)
def test_seeds_that_never_got_there_are_counted(values, text):
    assert mean_sd(values) == text


def tuned_runs(name, solved):
    """Return two runs of each setting that solve the table at these steps, other settings not."""
    return [
        solving(step, f"tune-{slug(name)}-lr{lr:g}-{value:g}")
        for lr in experiments.RATES
        for value in experiments.METHODS[name].values
        for step in solved.get((lr, value), (None, None))
    ]


@pytest.mark.parametrize("name", list(experiments.METHODS))
def test_the_best_setting_solved_the_table_soonest_over_all_its_seeds(name):
    settings = list(itertools.product(experiments.RATES, experiments.METHODS[name].values))
    diverged_once, late, soonest = settings[0], settings[3], settings[-1]
    runs = tuned_runs(name, {diverged_once: (10, None), late: (50, 60), soonest: (30, 60)})
    groups = [
        measures.tuning_runs(runs, name, *setting) for setting in (diverged_once, late, soonest)
    ]
    assert [measures.mean_solving_step(group) for group in groups] == [np.inf, 55, 45]
    assert [measures.final_accuracy(group) for group in groups] == [0.5, 1, 1]
    assert measures.best_setting(runs, name) == soonest


@pytest.fixture
def tuned(monkeypatch):
    """The first value of each method's own number at the least rate, as if they had been best."""
    first_settings = {
        name: (experiments.RATES[0], m.values[0]) for name, m in experiments.METHODS.items()
    }
    for module in (experiments, tables):
        monkeypatch.setattr(module, "TUNED", first_settings)
    return first_settings


def test_methods_are_compared_at_the_setting_they_were_tuned_to(tuned):
    def what(experiments):
        return {replace(e, name="same", train=replace(e.train, steps=1)) for e in experiments}

    assert len(what(experiments.compared())) == len(tuned)
    assert what(experiments.compared()) <= what(experiments.tuning())


def test_methods_stand_in_the_order_in_which_all_their_seeds_solved_the_table(tuned):
    steps = [(None, None), (10, None), (90, 90), (30, 50), (20, 20), (60, 60), (70, 70)]
    runs = [
        solving(step, f"method-{slug(name)}")
        for name, both in zip(tuned, steps, strict=True)
        for step in both
    ]
    rows = tables.method_table(runs).rows
    assert [row[2] for row in rows[:5]] == ["20", "40 ± 14", "60", "70", "90"]
    assert [row[2] for row in rows[5:]] == ["none of 2", "10 (1 of 2)"]


# Experiments


def test_no_two_experiments_are_the_same_but_for_their_names():
    everything = experiments.all_experiments()
    assert len({replace(experiment, name="same") for experiment in everything}) == len(everything)


def test_what_is_compared_was_tuned_on_other_seeds():
    by_use = {True: set(), False: set()}
    for experiment in experiments.all_experiments():
        by_use[experiment.name.startswith("tune-")].add(experiment.seed)
    assert not by_use[True] & by_use[False]


def test_a_seed_draws_the_sets_too():
    assert all(
        experiment.task.seed == experiment.seed
        for experiment in experiments.all_experiments()
        if isinstance(experiment.task, ModularConfig)
    )


def test_one_seed_of_each_has_every_experiment_once():
    names = Counter(experiment.name for experiment in experiments.all_experiments(most=1))
    assert set(names.values()) == {1}
    assert set(names) == {experiment.name for experiment in experiments.all_experiments()}


# A run to watch, and to ask


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A folder in which division modulo 7 was watched until it was known by heart."""
    folder = tmp_path_factory.mktemp("watched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        experiment = live.live_variant("/", 7, steps=30)
        few = replace(experiment.train, batch_size=32)
        list(live.watch(replace(experiment, train=few)))
    return folder


@pytest.fixture
def in_watched(watched, monkeypatch):
    monkeypatch.chdir(watched)


def test_watched_weights_answer_with_a_probability_for_each_number_likeliest_first(in_watched):
    answers = live.ask("5 / 6 mod 7")
    assert sorted(answer for answer, _ in answers) == list(range(7))
    probabilities = [probability for _, probability in answers]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=0.01)


def test_what_was_learned_is_answered_right(in_watched):
    data = live.live_variant("/", 7).task.prepare()
    for a, b, _, c in data.config.table[data.train].tolist():
        assert live.ask(f"{a} / {b} mod 7")[0][0] == c


@given(a=st.integers(0, 12), b=st.integers(1, 12))
def test_the_right_answer_is_python_s(a, b):
    says = {"+": a + b, "-": a - b, "*": a * b, "/": a * pow(b, -1, 13)}
    answers = {sign: live.right_answer(f"{a} {sign} {b} mod 13") for sign in says}
    assert answers == {sign: answer % 13 for sign, answer in says.items()}


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("5 / 0 mod 7", "5 / 0 has no answer"),
        ("7 / 5 mod 7", "7 is none of the numbers modulo 7: take 0 to 6"),
        ("5 / -1 mod 7", "-1 is none of the numbers modulo 7"),
        ("5 / 6 mod 8", "8 is not prime.*take 7 or 11"),
        ("5 / 6 mod 0", "p must be at least 2, not 0"),
        ("five over six", "'five over six' is not a question"),
        ("5 / 6 mod 11", "no model has learned / modulo 11 here yet: python -m lmcore live"),
    ],
)
def test_a_question_without_an_answer_is_an_error_that_says_why(in_watched, question, says):
    with pytest.raises(ValueError, match=says):
        live.ask(question)


def test_an_operation_that_cannot_be_asked_is_an_error_before_it_is_trained():
    with pytest.raises(ValueError, match=r"ask for one of \+, -, \*, /: not for 'a\^3\+ab'"):
        next(live.watch(live.live_variant("a^3+ab", 7)))


def test_a_run_that_diverges_is_drawn_up_to_there():
    score = Answers(nats=1.0, n=4, n_correct=3, logit_rms=1.0)
    scores = {"train": score, "validation": score}
    records = [Record(step=n, tokens=n, elapsed_s=0.0, scores=scores) for n in (0, 1, 3)]
    fig = live.plot_live(
        [*records, Record(step=4, tokens=4, elapsed_s=0.0, stop_reason="diverged")]
    )
    assert [line.get_xdata().tolist() for line in fig.axes[0].lines] == 2 * [[1, 1, 3]]
    plt.close(fig)


def test_a_sentence_can_be_watched_too_and_leaves_no_weights_to_ask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sentence = live.live_experiments(seed=3)[0]
    plan = with_fields(sentence.train, steps=2, eval_at=(1,))
    records = list(live.watch(replace(sentence, train=plan)))
    (ax,) = live.plot_live(records).axes
    assert [len(line.get_xdata()) for line in ax.lines] == [len(records)]
    assert not list(tmp_path.iterdir())


def test_what_is_trained_live_is_no_run_that_is_kept():
    saved = {experiment.path for experiment in experiments.all_experiments()}
    assert {experiment.path for experiment in live.live_experiments()}.isdisjoint(saved)

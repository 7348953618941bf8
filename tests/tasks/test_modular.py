"""Tables of modular arithmetic: their answers, their sets, and batches of them; sentences too."""

import dataclasses
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made import PLAIN, randomised

from lmcore.config import config_hash, from_dict, with_fields
from lmcore.experiments.experiment import Experiment, task_of
from lmcore.model.gpt import GPT
from lmcore.studies.grokking import experiments as grokking
from lmcore.tasks.modular import DIVIDING, OPERATIONS, ModularConfig, is_prime, parsed
from lmcore.tasks.protocols import Task
from lmcore.tasks.sentence import SentenceConfig
from lmcore.training.loop import train

primes = st.sampled_from([5, 7, 11, 13])
CLEAN = ModularConfig(operations=("/",), p=11)
DRAWN = ModularConfig(operations=("+", "-"), p=11, train_fraction=None, n_samples=200)
both = pytest.mark.parametrize("config", [CLEAN, DRAWN], ids=["split", "drawn"])


def table(config):
    return config.prepare()


@given(p=primes)
def test_every_operation_is_what_python_says_it_is(p):
    says = {
        "+": lambda a, b: (a + b) % p,
        "-": lambda a, b: (a - b) % p,
        "*": lambda a, b: a * b % p,
        "/": lambda a, b: a * pow(b, -1, p) % p,
        "a^2+ab+b^2": lambda a, b: (a**2 + a * b + b**2) % p,
        "a^3+ab": lambda a, b: (a**3 + a * b) % p,
        "a/b if b odd else a-b": lambda a, b: (a * pow(b, -1, p) if b % 2 else a - b) % p,
    }
    assert set(says) == set(OPERATIONS)
    for name, of in says.items():
        rows = ModularConfig(operations=(name,), p=p).table.tolist()
        assert all(c == of(a, b) for a, b, _, c in rows)


@given(p=primes)
def test_division_undoes_multiplication_and_never_divides_by_zero(p):
    a, b, _, c = ModularConfig(operations=("/",), p=p).table.T
    assert (c * b % p == a).all()
    assert (len(a), b.min()) == (p * (p - 1), 1)


@given(n=st.integers(0, 400))
def test_a_prime_has_no_divisor(n):
    assert is_prime(n) == (n > 1 and not any(n % d == 0 for d in range(2, n)))


@given(fraction=st.floats(0.05, 0.95), seed=st.integers(0, 99))
def test_split_sets_share_nothing_and_together_are_the_table(fraction, seed):
    sets = table(replace(CLEAN, train_fraction=fraction, seed=seed)).sets()
    assert list(sets) == ["train", "validation", "test"]
    assert sorted(np.concatenate(list(sets.values()))) == list(range(110))
    assert len(sets["train"]) == round(fraction * 110)


def test_drawn_sets_share_pairs_and_the_unseen_ones_do_not():
    sets = table(DRAWN).sets()
    assert [len(part) for part in sets.values()][:3] == [80, 80, 40]
    assert set(sets["test"]) & set(sets["train"])
    for name in ("validation", "test"):
        assert set(sets[f"unseen {name}"]) == set(sets[name]) - set(sets["train"])


def test_drawn_numbers_reach_both_ends_and_p_counts_as_zero():
    a, b, _, c = DRAWN.table.T
    assert (a.min(), a.max(), b.min(), b.max(), c.max()) == (0, 11, 1, 11, 10)
    assert DRAWN.vocab_size == 14
    assert (c[a == 11] == c[a == 0]).all()


def test_drawn_rows_of_a_division_never_divide_by_p():
    b = replace(DRAWN, operations=("/",)).table[:, 1]
    assert (b.min(), b.max()) == (1, 10)


def test_another_seed_splits_otherwise_and_the_same_one_alike():
    first, again, other = (table(replace(CLEAN, seed=seed)) for seed in (0, 0, 1))
    assert first.origin == again.origin
    assert first.origin["text_sha256"] != other.origin["text_sha256"]


def test_a_memoriser_knows_what_training_saw_and_guesses_the_rest():
    drawn = table(DRAWN)
    seen = np.isin(drawn.test, drawn.train).mean()
    assert drawn.memoriser == pytest.approx(seen + (1 - seen) / 11)
    assert table(CLEAN).memoriser == pytest.approx(1 / 11)
    assert table(CLEAN).coverage == 0.5


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"p": 96}, "p 96 is not prime.*take 89 or 97"),
        ({"p": 1, "operations": ("+",)}, "p must be at least 2, not 1"),
        ({"operations": ("^",)}, r"operations \('\^',\): take one or more of \+, -"),
        ({"operations": ()}, "take one or more"),
        ({"operations": ("+", "+")}, "take one or more"),
        ({"train_fraction": 1.0}, r"train_fraction 1\.0 is outside \(0, 1\)"),
        ({"train_fraction": 0.0}, r"train_fraction 0\.0 is outside \(0, 1\)"),
        ({"train_fraction": None}, "train_fraction None and n_samples None: set one"),
        ({"n_samples": 100}, r"train_fraction 0\.5 and n_samples 100: set one"),
        ({"n_samples": 0, "train_fraction": None}, "n_samples must be at least 1, not 0"),
    ],
)
def test_a_table_that_cannot_be_is_an_error_with_its_values(wrong, says):
    with pytest.raises(ValueError, match=says):
        replace(CLEAN, **wrong)


@pytest.mark.parametrize("operation", ["+", "-", "*", "a^2+ab+b^2", "a^3+ab"])
def test_without_division_the_modulus_need_not_be_prime(operation):
    assert len(ModularConfig(operations=(operation,), p=6).table) == 36
    assert operation not in DIVIDING


@pytest.mark.parametrize("wrong", [{"train_fraction": 0.001}, {"train_fraction": 0.999}])
def test_a_set_without_rows_is_an_error_with_their_numbers(wrong):
    with pytest.raises(ValueError, match="leaves a set empty"):
        table(replace(CLEAN, **wrong))


# Batches


def source(config=CLEAN, batch_size=16, seed=0):
    data = table(config)
    return data.source(batch_size=batch_size, context_length=3, order="shuffled", seed=seed)


@both
def test_a_table_is_a_source(config):
    assert isinstance(source(config), Task)


@pytest.mark.parametrize("batch_size", [1, 16, 55, 200])
def test_an_epoch_reads_every_training_row_once_whatever_the_batch(batch_size):
    some = source(batch_size=batch_size)
    n = len(some.table.train)
    rows = torch.cat([torch.cat(some.batch(i)[:2], dim=1) for i in range(-(-2 * n // batch_size))])
    for epoch in rows[: 2 * n].split(n):
        assert sorted(epoch.tolist()) == sorted(some.table.config.table[some.table.train].tolist())


@given(number=st.integers(0, 40))
def test_a_batch_depends_on_nothing_but_its_number(number):
    some = source()
    expected = source().batch(number)
    some.batch(number + 7)
    assert all(torch.equal(a, b) for a, b in zip(some.batch(number)[:2], expected[:2], strict=True))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"context_length": 4}, "set context_length 3, not 4"),
        ({"order": "sequential"}, "in order 'shuffled'.*not 'sequential'"),
    ],
)
def test_a_plan_that_does_not_suit_a_table_is_an_error(wrong, says):
    fitting = {"batch_size": 4, "context_length": 3, "order": "shuffled", "seed": 0}
    with pytest.raises(ValueError, match=says):
        table(CLEAN).source(**fitting | wrong)


@both
def test_scores_are_those_of_the_whole_sets_counted_by_hand(config):
    model = randomised(replace(grokking.FAST.model, vocab_size=config.vocab_size))
    data = table(config)
    for name, places in data.sets().items():
        x, y = data.rows(places)
        logits = model(x)[:, -1].double()
        found = data.score(model, name)
        assert found.n_correct == int((logits.argmax(-1) == y[:, 0]).sum())
        assert found.n == len(places)
        nats = -logits.log_softmax(-1).gather(1, y).mean().item()
        assert found.loss == pytest.approx(nats, rel=1e-4)


def test_the_test_set_is_not_scored_while_training():
    model = GPT(replace(grokking.FAST.model, vocab_size=DRAWN.vocab_size))
    assert list(source(DRAWN).scores(model)) == ["train", "validation", "unseen validation"]
    assert list(table(DRAWN).test_scores(model)) == ["test", "unseen test"]


# As the data of an experiment


def test_an_experiment_on_a_table_or_a_sentence_comes_back_equal_from_its_dictionary():
    for experiment in (grokking.FAST, grokking.SENTENCE):
        assert from_dict(Experiment, asdict(experiment)) == experiment


OTHERWISE = {
    "operations": ("+",), "p": 113, "train_fraction": 0.3, "n_samples": 5_000, "seed": 7,
}  # fmt: skip


def test_the_hash_changes_with_every_field_of_a_table():
    assert set(OTHERWISE) == {field.name for field in dataclasses.fields(ModularConfig)}
    whole = ModularConfig(operations=("/",), p=97)
    for name, value in OTHERWISE.items():
        alone = {name: value} | ({"train_fraction": None} if name == "n_samples" else {})
        assert config_hash(replace(whole, **alone)) != config_hash(whole)


def test_the_rows_of_a_small_table_are_learned_by_heart():
    experiment = replace(
        grokking.FAST,
        task=CLEAN,
        model=replace(grokking.FAST.model, vocab_size=12, d_model=64, d_ff=128),
        train=with_fields(
            grokking.FAST.train, {"batch_size": 55, "steps": 80, "weight_decay": 0.0}
        ),
    )
    torch.manual_seed(0)
    source = task_of(experiment, table(CLEAN))
    *_, last = train(GPT(experiment.model), experiment.train, source, PLAIN)
    assert last.scores["train"].accuracy == 1


# Questions


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("5 / 7 mod 97", (5, "/", 7, 97)),
        ("5/7", (5, "/", 7, None)),
        (" 12 + 30 (mod 113) = ?", (12, "+", 30, 113)),
        ("3 × 4 mod 7", (3, "*", 4, 7)),
        ("3 - -4", (3, "-", -4, None)),
    ],
)
def test_a_question_is_read_as_people_write_it(question, parts):
    assert parsed(question) == parts


@pytest.mark.parametrize(
    "nonsense", ["", "five over seven", "5 /", "5 / 7 mod", "1 / 2 / 3", "5 ^ 7"]
)
def test_nonsense_is_named_with_an_example(nonsense):
    with pytest.raises(ValueError, match=r"is not a question: ask for example '5 / 7 mod 97'"):
        parsed(nonsense)


# Sentences


def test_a_sentence_s_windows_are_its_stretches_and_the_character_after_each():
    config = SentenceConfig(sentence="abcab")
    x, y = config.prepare().windows(3)
    assert (x.tolist(), y.tolist()) == ([[0, 1, 2], [1, 2, 0]], [[1, 2, 0], [2, 0, 1]])


def test_the_floor_of_a_sentence_counts_only_what_its_windows_leave_open():
    assert SentenceConfig(sentence="abcd").prepare().floor(2) == 0
    # The windows are aab, abc and bca: a first a goes on with a or with b.
    two_ways = -(2 * np.log(1 / 2)) / 6
    assert SentenceConfig(sentence="aabca").prepare().floor(2) == pytest.approx(two_ways)


def test_a_sentence_shorter_than_the_context_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="'abc' has no window of 3 characters"):
        SentenceConfig(sentence="abc").prepare().windows(3)


def test_a_sentence_too_short_or_read_otherwise_is_an_error():
    with pytest.raises(ValueError, match="'a' is shorter than two characters"):
        SentenceConfig(sentence="a")
    data = SentenceConfig(sentence="abcab").prepare()
    with pytest.raises(ValueError, match="'uniform'"):
        data.source(batch_size=1, context_length=3, order="shuffled", seed=0)

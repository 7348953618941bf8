"""The ladder to the record: that each rung is what it says, and what tables say of runs."""

from dataclasses import replace

import pytest

from lmcore.config import flat_fields, full_name
from lmcore.studies.record import experiments as record
from lmcore.studies.record.tables import climbed, verdict

PARTS = ("task", "model", "train")


def differing(a, b):
    """Return the full name of each field in which two experiments differ, names aside."""
    left, right = flat_fields(a), flat_fields(b)
    return {name for name in left if left[name] != right[name]} - {"name"}


@pytest.mark.parametrize("name", list(record.LADDER))
def test_a_rung_differs_from_its_base_in_what_it_says_and_nothing_else(name):
    step = record.LADDER[name]
    base = record.rung(step.base)
    stated = {
        f"{part}.{full_name(getattr(base, part), field)}"
        for part in PARTS
        for field in getattr(step, part)
    }
    assert differing(record.rung(name), base) <= stated


def test_a_rung_is_made_on_one_below_it():
    below = [record.GIVEN.name]
    for name, step in record.LADDER.items():
        assert step.base in below
        below.append(name)


def test_a_rung_that_others_are_made_on_was_kept():
    bases = {step.base for step in record.LADDER.values()}
    assert bases <= set(climbed(record.RECORD))


@pytest.mark.parametrize("name", list(record.RATES))
def test_a_rung_is_tuned_on_another_seed_and_between_the_outer_rates(name):
    assert record.TUNED[name] in record.RATES[name][1:-1]
    assert record.rung(name).train.optimizer.lr == record.TUNED[name]
    assert record.TUNING_SEED not in record.SEEDS


def test_rungs_are_tuned_over_as_many_runs():
    assert len({len(rates) for rates in record.RATES.values()}) == 1


def test_no_tokenizer_of_the_ladder_has_seen_validation_titles():
    assert {each.task.tokenizer_text for each in record.all_experiments()} == {"train"}


def test_no_two_experiments_are_the_same_but_for_their_names():
    everything = record.all_experiments()
    assert len({replace(each, name="same") for each in everything}) == len(everything)


def test_a_rung_with_too_few_seeds_is_open():
    assert verdict("no-biases", len(record.SEEDS)) == "dropped"
    assert verdict("no-biases", 1) == "open"
    assert verdict(record.RECORD, len(record.SEEDS)) == "kept"

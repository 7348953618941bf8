"""The ladder to the record: that each rung is what it says, and what tables say of runs."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from lmcore.model import GPT, ModelConfig
from lmcore.records import Run
from lmcore.studies import record

PARTS = ("corpus", "model", "train")


def differing(a, b):
    """Return the part and name of each field in which two experiments differ, names aside."""
    left, right = asdict(a), asdict(b)
    return {(p, n) for p in PARTS for n in left[p] if left[p][n] != right[p][n]}


@pytest.mark.parametrize("name", list(record.LADDER))
def test_a_rung_differs_from_its_base_in_what_it_says_and_nothing_else(name):
    step = record.LADDER[name]
    said = {(part, field) for part in PARTS for field in getattr(step, part)}
    assert differing(record.rung(name), record.rung(step.base)) == said


def test_a_rung_is_made_on_one_below_it():
    below = [record.GIVEN.name]
    for name, step in record.LADDER.items():
        assert step.base in below
        below.append(name)


def test_a_rung_that_others_are_made_on_was_kept():
    bases = {step.base for step in record.LADDER.values()}
    assert bases <= set(record.climbed(record.RECORD))


@pytest.mark.parametrize("name", list(record.RATES))
def test_a_rung_is_tuned_on_another_seed_and_between_the_outer_rates(name):
    assert record.TUNED[name] in record.RATES[name][1:-1]
    assert record.rung(name).train.lr == record.TUNED[name]
    assert record.TUNING_SEED not in record.SEEDS


def test_rungs_are_tuned_over_as_many_runs():
    assert len({len(rates) for rates in record.RATES.values()}) == 1


def test_no_tokenizer_of_the_ladder_has_seen_validation_titles():
    assert {each.corpus.tokenizer_text for each in record.experiments()} == {"train"}


def test_no_two_experiments_are_the_same_but_for_their_names():
    everything = record.experiments()
    assert len({replace(each, name="") for each in everything}) == len(everything)


def test_what_is_kept_of_a_model_is_json(corpus):
    torch.manual_seed(0)
    model = GPT(ModelConfig(vocab_size=320, context_length=32, d_model=16, n_heads=2, d_ff=32))
    assert json.dumps(record.probe(model, corpus), allow_nan=False)


# What is read off runs


def made_run(experiment, nats):
    """Return a run of experiment that ends at so many nats for ten characters."""
    score = {"nats": nats, "characters": 10, "bytes": 20, "n_tokens": 5, "of_tokens": 6}
    end = {"step": 360, "validation": score, "challenge": score}
    environment = {"sessions": [{"commit": "0123456789"}]}
    return Run(Path(), experiment, [end], environment, {"test": score})


def test_the_best_rate_ended_lowest():
    first, best, last = record.RATES["muon"]
    ends = {first: 12.0, best: 10.0, last: 11.0}
    tried = {each.name: each for each in record.tuning()}
    runs = [made_run(tried[record.tuning_name("muon", lr)], nats) for lr, nats in ends.items()]
    assert record.best_rate(runs, "muon") == best


def test_a_rung_is_dropped_after_all_seeds_and_is_open_until_then():
    assert record.verdict("no-biases", len(record.SEEDS)) == "dropped"
    assert record.verdict("no-biases", 1) == "open"
    assert record.verdict(record.RECORD, 1) == "kept"


def test_a_rung_is_held_against_its_base_on_the_same_seed():
    ends = {"sgd-as-given": (20.0, 20.0), "adamw": (15.0, 16.0), "rope-rmsnorm": (14.0, 14.0)}
    runs = [
        made_run(replace(record.rung(name), seed=seed), nats)
        for name, own in ends.items()
        for seed, nats in zip(record.SEEDS, own, strict=False)
    ]
    rows = {row[0]: row[1:] for row in record.rung_table(runs).rows}
    assert rows["rope-rmsnorm"][2:] == ("0.7000", "-0.1500 ± 0.0707", "2", "kept")
    assert "no-biases" not in rows
    assert record.findings(runs).rows[1][5] == "0.775 ± 0.035"

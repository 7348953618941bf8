"""The named experiments: each differs from the baseline in what its name says, and can be run."""

import pytest
import torch

from lmcore.config import flat_fields
from lmcore.experiments.experiment import prepared, task_of
from lmcore.model.gpt import GPT
from lmcore.studies.named.experiments import BASELINE, CHANGES, GROUPS, PARTS, named, scaled, small
from lmcore.training.loop import train

PUBLISHED = {
    "vocab_small": {"task.vocab_size": 10_000, "model.vocab_size": 10_000},
    "vocab_medium": {"task.vocab_size": 25_000, "model.vocab_size": 25_000},
    "embd_small": {"model.d_model": 128},
    "embd_large": {"model.d_model": 512},
    "embd_xlarge": {"model.d_model": 768},
    "arch_deep": {"model.n_layers": 8},
    "arch_wide": {"model.n_heads": 8},
    "data_small": {"task.share": 0.1},
    "data_medium": {"task.share": 0.5},
    "lr_high": {"train.optimizer.lr": 5e-4},
    "lr_low": {"train.optimizer.lr": 5e-5},
}


def changes(experiment, baseline=BASELINE):
    before = flat_fields(baseline)
    return {
        field: value
        for field, value in flat_fields(experiment).items()
        if value != before[field] and field != "name"
    }


def test_the_baseline_has_the_published_settings():
    model, train_plan = BASELINE.model, BASELINE.train
    assert (model.vocab_size, model.d_model, model.n_layers, model.n_heads) == (50_257, 256, 4, 4)
    assert (model.context_length, train_plan.batch_size, train_plan.steps) == (64, 16, 2_000)
    assert train_plan.optimizer.lr == 1e-4


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_experiment_differs_from_the_baseline_in_what_its_name_says(name):
    assert changes(named(name)) == PUBLISHED[name]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_part_of_an_experiment_differs_from_that_of_the_baseline_in_the_same_fields(name, part):
    of_part = changes(scaled(named(name), part), scaled(BASELINE, part))
    assert of_part.keys() == PUBLISHED[name].keys()


def test_groups_name_experiments_that_exist_and_begin_with_the_baseline():
    assert {name for members in GROUPS.values() for name in members} == set(CHANGES)
    assert {members[0] for members in GROUPS.values()} == {"baseline"}


@pytest.mark.parametrize("name", CHANGES)
def test_every_named_experiment_takes_one_step_in_its_small_version(name, tmp_path):
    experiment = small(named(name))
    corpus = prepared(experiment, tmp_path)
    torch.manual_seed(0)
    model = GPT(experiment.model)
    records = train(model, experiment.train, task_of(experiment, corpus))
    first, second = next(records), next(records)
    assert (first.step, second.step) == (0, 4)
    assert second.scores["validation"].nats < first.scores["validation"].nats

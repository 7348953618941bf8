"""Configs of runs on texts: presets, TOML files, changes and their errors."""

import dataclasses

import pytest

from lmcore.config import with_fields
from lmcore.experiments.text_config import (
    PRESETS,
    changed,
    differences,
    for_data,
    preset_run,
    text_run,
    toml_changes,
)
from lmcore.model.config import ModelConfig
from lmcore.model.rope import RopeScaling
from lmcore.training.config import TrainConfig


@pytest.fixture
def toml(tmp_path):
    """Return a function that writes a TOML file and returns what it changes of the tiny preset."""

    def changes(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return toml_changes(path, preset_run("tiny"))

    return changes


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_whole_for_any_vocabulary(name):
    config = with_fields(preset_run(name), vocab_size=300)
    assert config.model.n_parameters > 0
    assert config.train.evaluation.patience


def test_the_gpt2_preset_has_the_parameters_of_the_smallest_gpt2():
    model = dataclasses.replace(preset_run("gpt2").model, vocab_size=50_257)
    assert model.n_parameters == 124_439_808


def test_the_llama_preset_has_the_parameters_of_llama2_c_with_15_million():
    model = dataclasses.replace(preset_run("llama").model, vocab_size=32_000)
    assert model.n_parameters == 15_191_712


def test_an_unknown_preset_is_an_error_that_lists_them():
    with pytest.raises(ValueError, match=r"tiny, small, gpt2, llama, not 'big'"):
        preset_run("big")


def test_a_config_takes_its_vocabulary_and_fingerprints_from_the_data(text_data):
    config = text_run(text_data, "tiny", d_model=32)
    assert config.model.vocab_size == text_data.tokenizer.vocab_size
    assert config.tokenizer == text_data.tokenizer.fingerprint
    assert config == for_data(config, text_data)


def test_another_vocabulary_than_the_datas_is_an_error(text_data):
    with pytest.raises(ValueError, match="vocab_size 77 is not the tokenizer's"):
        text_run(text_data, "tiny", vocab_size=77)


@pytest.mark.parametrize("length", ["epochs", "steps", "n_tokens"])
def test_a_length_replaces_the_one_before(length):
    plan = changed(preset_run("tiny"), {length: 12_345}).train
    lengths = {name: getattr(plan, name) for name in ("epochs", "steps", "n_tokens")}
    assert lengths == {"epochs": None, "steps": None, "n_tokens": None} | {length: 12_345}


def test_a_short_run_warms_up_for_at_most_a_tenth_of_it_unless_it_says_otherwise():
    tiny = preset_run("tiny")
    assert tiny.train.schedule.warmup_steps == 20
    assert changed(tiny, {"steps": 50}).train.schedule.warmup_steps == 5
    assert changed(tiny, {"steps": 5_000}).train.schedule.warmup_steps == 20
    assert changed(tiny, {"steps": 50, "warmup_steps": 9}).train.schedule.warmup_steps == 9


def test_two_lengths_contradict_each_other():
    with pytest.raises(ValueError, match="exactly one of epochs, steps and n_tokens"):
        changed(preset_run("tiny"), {"epochs": 1, "steps": 2})


def test_tables_of_a_toml_file_are_configs(toml):
    found = toml("""
        seed = 3
        [model]
        d_model = 96
        tie_embeddings = false
        [train]
        max_s = 60
        [train.optimizer]
        kind = "muon"
        betas = [0.8, 0.99]
        max_grad_norm = "none"
        [train.evaluation]
        eval_at = [1, 2]
    """)
    assert found == {
        "seed": 3, "model.d_model": 96, "model.tie_embeddings": False, "train.max_s": 60.0,
        "train.optimizer.kind": "muon", "train.optimizer.betas": (0.8, 0.99),
        "train.optimizer.max_grad_norm": None, "train.evaluation.eval_at": (1, 2),
    }  # fmt: skip


def test_a_config_that_may_be_none_is_a_table_too(toml):
    found = toml("""
        [model.rope_scaling]
        factor = 8.0
        low_freq_factor = 1.0
        high_freq_factor = 4.0
        original_context_length = 64
    """)
    scaling = RopeScaling(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context_length=64
    )
    assert found == {"model.rope_scaling": scaling}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\nd_modl = 3", "no field model.d_modl: did you mean model.d_model"),
        ("[train.optimiser]\nlr = 3", "no field train.optimiser: did you mean train.optimizer"),
        ("[model]\nd_model = 'wide'", "model.d_model must be a whole number, not 'wide'"),
        ("[model]\nd_model = 1.5", "model.d_model must be a whole number, not 1.5"),
        ("[model]\nbias = 1", "model.bias must be True or False, not 1"),
        ("[train]\nbatch_size = true", "train.batch_size must be a whole number, not True"),
        ("[train]\nsteps = 'many'", "train.steps must be a whole number or None, not 'many'"),
        ("[train.optimizer]\nkind = 'adam'", "must be one of sgd, adamw, muon, not 'adam'"),
        ("[train.optimizer]\nbetas = [0.9, 'x']", r"betas must be 2 numbers, but it holds 'x'"),
        ("[train.optimizer]\nbetas = [0.9]", r"betas must be 2 numbers, not \[0.9\]"),
        ("[model", "is no TOML"),
    ],
)
def test_a_mistake_in_a_toml_file_names_file_field_and_value(toml, text, message):
    with pytest.raises(ValueError, match=message) as error:
        toml(text)
    assert "run.toml" in str(error.value)


def test_a_toml_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.toml"):
        toml_changes(tmp_path / "nothing.toml", preset_run("tiny"))


def test_differences_name_each_field_with_both_values():
    before = TrainConfig(steps=10)
    after = with_fields(before, lr=0.1, steps=20)
    assert differences(before, after) == ["steps 10 -> 20", "optimizer.lr 0.001 -> 0.1"]
    assert differences(before, after, ("steps",)) == ["optimizer.lr 0.001 -> 0.1"]
    assert differences(ModelConfig(vocab_size=5), ModelConfig(vocab_size=5)) == []

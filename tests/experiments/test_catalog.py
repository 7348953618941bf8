"""A user's own experiments, from a Python file or a TOML file."""

import pytest

from lmcore.experiments.catalog import catalog_from
from lmcore.studies.named.catalog import catalog

MINE = """
from dataclasses import replace
from lmcore.studies.named.experiments import BASELINE
EXPERIMENTS = [replace(BASELINE, name="mine", study="mine")]
"""
TOML = """
[wider]
description = "a little wider"
model.d_model = 320

[wider-and-longer]
base = "embd_large"
train.steps = 4_000
train.optimizer.lr = 1e-3
"""


def written(path, text):
    path.write_text(text)
    return path


def test_a_python_file_gives_its_experiments(tmp_path):
    known = catalog_from(written(tmp_path / "my_experiments.py", MINE), catalog())
    assert list(known.experiments) == ["mine"]
    assert known.group("all")[0].study == "mine"


def test_a_study_in_a_file_brings_its_own_probe(tmp_path):
    text = MINE + (
        "from lmcore.experiments.study import Study\n"
        "def probe(model, corpus): return {'asked': 1}\n"
        "STUDY = Study(name='mine', description='Why?', experiments=lambda: EXPERIMENTS,\n"
        "              probe=probe, check_claims=lambda runs: None)\n"
    )
    known = catalog_from(written(tmp_path / "my_study.py", text), catalog())
    assert known.study.probe(None, None) == {"asked": 1}


def test_a_toml_file_gives_an_experiment_for_each_table(tmp_path):
    known = catalog_from(written(tmp_path / "mine.toml", TOML), catalog())
    wider, longer = known.named(["wider", "wider-and-longer"])
    assert (wider.model.d_model, wider.train.steps) == (320, 2_000)
    assert (longer.model.d_model, longer.train.steps) == (512, 4_000)
    assert known.descriptions["wider"] == "a little wider"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("broken_value.py", "x = 1\ny = x / 0\n", r"line 2: y = x / 0: ZeroDivisionError"),
        ("broken_syntax.py", "x = 1\ny = (\n", r"line 2: .*never closed"),
        ("broken_empty.py", "x = 1\n", r"neither STUDY, a Study, nor EXPERIMENTS"),
        ("broken_kind.py", "EXPERIMENTS = [3]\n", r"3 is no Experiment"),
        ("torch.py", "EXPERIMENTS = []\n", r"rename it"),
        ("a.toml", "[x]\nmodel.d_modle = 3\n", r"\[x\]: .*did you mean .*d_model"),
        ("b.toml", "[x]\nbase = 'baselin'\n", r"\[x\]: there is no experiment 'baselin'"),
        ("c.toml", "[x]\nlr = 1.0\ntrain.lr = 2.0\n", r"lr and train\.lr both set"),
        ("d.toml", "x = 3\n", r"x is no table"),
        ("e.toml", "[x\n", r"is no TOML"),
    ],
)
def test_a_broken_file_is_an_error_that_names_the_place(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message) as error:
        catalog_from(written(tmp_path / name, text), catalog())
    assert name in str(error.value)


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(ValueError, match=r"no experiment 'vocab_smal': did you mean vocab_small"):
        catalog().named(["vocab_smal"])
    with pytest.raises(ValueError, match=r"no group 'quik': did you mean quick"):
        catalog().group("quik")

"""Runs of the first schema can be upgraded, and every number that they measured stays."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from lmcore.config import SCHEMA, config_hash
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.run_folder import load_run
from lmcore.experiments.schema import V1_RECORD_NAMES, from_v1, upgrade, upgrade_folder
from lmcore.files import read_json, write_json
from lmcore.studies.baseline import experiments as baseline

ROOT = Path(__file__).parents[2]
DIGESTS = json.loads(Path(__file__).with_name("numbers_of_schema_1.json").read_text())
"""A hash of metrics, environment and outcome of each run as it stood before the upgrade."""


def under_old_names(values, names):
    old = {new: name for name, new in names.items()}
    return {old.get(name, name): value for name, value in values.items()}


def digest(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [under_old_names(json.loads(line), V1_RECORD_NAMES) for line in lines]
    environment = under_old_names(read_json(folder / "environment.json"), {"corpus": "data"})
    values = [metrics, environment, read_json(folder / "outcome.json")]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def test_every_upgraded_run_has_the_numbers_it_had_before():
    now = {path: digest(ROOT / "results" / path) for path in DIGESTS}
    assert now == DIGESTS


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A config without a model."""

    name: str
    texts: tuple[str, ...]
    study: str = "surveys"


OLD = {
    "study": "baseline", "name": "sgd", "seed": 1337,
    "corpus": {
        "source": "headlines", "n_titles": 100_000, "n_test_titles": 10_000,
        "validation_fraction": 0.1, "seed": 1337, "vocab_size": 16_000,
    },
    "model": {
        "vocab_size": 16_000, "context_length": 128, "d_model": 512, "n_layers": 6, "n_heads": 8,
        "d_ff": 2048, "dropout": 0.1,
    },
    "train": {
        "batch_size": 64, "epochs": 7, "lr": 6e-3, "clip": 1.0,
        "evaluate_at": [1, 44, 132, 264, 440, 616, 792],
    },
}  # fmt: skip
"""The baseline as the first schema's first runs stored it."""


@pytest.fixture
def old_folder(smoke_run, tmp_path):
    """A finished run whose config is of the first schema."""
    _, run = smoke_run
    write_json(tmp_path / "config.json", {"hash": "0", "config": OLD})
    for name in ("metrics.jsonl", "environment.json", "outcome.json"):
        text = (run.folder / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace('"grad_norm"', '"gradient_norm"'))
    return tmp_path


def test_the_baseline_of_the_first_schema_becomes_the_baseline(old_folder):
    assert upgrade_folder(old_folder, Experiment)
    run = load_run(old_folder, Experiment)
    assert run.config == baseline.BASELINE
    assert "grad_norm" in run.records[1]


def test_an_upgrade_reaches_all_finished_runs_below_a_folder_and_counts_the_old_ones(
    old_folder, smoke_run
):
    _, run = smoke_run
    shutil.copytree(run.folder, old_folder / "study/current/seed1")
    survey = old_folder / "study/old-survey/seed0"
    shutil.copytree(run.folder, survey)
    config = {"name": "sample", "texts": ["novels"], "study": "surveys"}
    write_json(survey / "config.json", {"hash": "0", "config": config})
    (old_folder / "unfinished").mkdir()
    write_json(old_folder / "unfinished/config.json", {"hash": "0", "config": OLD})
    assert upgrade(old_folder, {"surveys": Survey}) == 2
    assert load_run(old_folder, Experiment).config == baseline.BASELINE
    assert load_run(survey, Survey).config == Survey(name="sample", texts=("novels",))
    assert upgrade(old_folder, {"surveys": Survey}) == 0


def test_a_folder_without_runs_cannot_be_upgraded(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path} holds no finished run: name a run folder"):
        upgrade(tmp_path)


def test_an_old_config_that_lacks_what_it_needs_is_named(old_folder):
    write_json(old_folder / "config.json", {"hash": "0", "config": {"texts": ["novels"]}})
    with pytest.raises(ValueError, match=r"config\.json cannot be upgraded: .* no field texts"):
        upgrade(old_folder)


def test_an_upgraded_folder_is_left_alone(old_folder):
    upgrade_folder(old_folder, Experiment)
    before = (old_folder / "config.json").read_bytes()
    assert not upgrade_folder(old_folder, Experiment)
    assert (old_folder / "config.json").read_bytes() == before


def test_a_folder_of_another_schema_is_refused_with_the_command_that_upgrades_it(old_folder):
    with pytest.raises(ValueError, match=r"schema 1, this one reads .*lmcore upgrade"):
        load_run(old_folder, Experiment)
    write_json(old_folder / "config.json", {"schema": SCHEMA + 1, "hash": "0", "config": OLD})
    with pytest.raises(ValueError, match="update lmcore"):
        load_run(old_folder, Experiment)
    with pytest.raises(ValueError, match="update lmcore"):
        upgrade_folder(old_folder, Experiment)


def test_a_survey_has_nothing_to_rename():
    assert from_v1({"name": "sample", "texts": ["novels"]}) == {
        "name": "sample",
        "texts": ["novels"],
    }


def test_the_hash_covers_defaults_too(monkeypatch):
    before = config_hash(baseline.BASELINE)
    monkeypatch.setattr("lmcore.config.SCHEMA", SCHEMA + 1)
    assert config_hash(baseline.BASELINE) != before

"""A run on a text: what its folder holds, and that it can be resumed, extended and refused."""

import dataclasses
import json
import shutil

import pytest
import torch
from made import PLAIN

import lmcore
from lmcore.config import with_fields
from lmcore.data.sources import Reading
from lmcore.experiments.metrics_file import read_metrics
from lmcore.experiments.run_folder import load_run
from lmcore.experiments.samples import SampleConfig, default_prompts, read_samples
from lmcore.experiments.text_config import TextRun, text_run
from lmcore.experiments.text_run import stored_run, train_text
from lmcore.files import read_json
from lmcore.tasks.prepared_text import PrepareConfig, prepare
from lmcore.training.records import DivergedError

EVERY_STEP = dataclasses.replace(PLAIN, checkpoint_every_s=0.0)


@pytest.fixture(scope="module")
def config(text_data):
    """A run of 12 steps with dropout, which draws random numbers at each step."""
    return text_run(
        text_data, "tiny", d_model=16, n_layers=1, n_heads=2, context_length=16, batch_size=4,
        steps=12, warmup_steps=2, eval_every=4, dropout=0.1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(text_data, config, tmp_path_factory):
    """The folder of a finished run; tests copy it to change it."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train_text(text_data, out, config, runtime=PLAIN)
    return out


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


class StoppedError(Exception):
    """A process that ends between two steps."""


def stopped_at(step):
    """Return a show that ends the process when the scores of this step are shown."""

    def show(line):
        if line.startswith(f"step {step}:"):
            raise StoppedError

    return show


def numbers(out):
    """Return the records of a run without what a clock measured."""
    records = read_metrics(out / "metrics.jsonl")
    return [{n: v for n, v in record.items() if n != "elapsed_s"} for record in records]


def weights(out):
    return lmcore.load(out).model.state_dict()


def same_weights(one, other):
    return all(torch.equal(w, weights(other)[name]) for name, w in weights(one).items())


def same_run(one, other):
    """Return whether two runs have the same numbers, samples and weights."""
    return (
        numbers(one) == numbers(other)
        and read_samples(one) == read_samples(other)
        and same_weights(one, other)
    )


def test_a_run_folder_holds_the_whole_run(finished, config, text_data):
    run = load_run(finished, TextRun)
    assert run.config == config
    assert [record["step"] for record in run.records] == [*range(13)]
    assert [r["step"] for r in run.records if "validation" in r] == [0, 4, 8, 12]
    assert run.outcome["validation"] == run.records[-1]["validation"]
    assert run.environment["data"]["tokenizer"] == text_data.tokenizer.fingerprint
    assert (finished / "checkpoints" / "step0000012.safetensors").exists()


def test_every_validation_token_is_scored_and_the_challenge_is_not(finished):
    run = load_run(finished, TextRun)
    assert run.outcome["validation"].coverage == 1.0
    assert all("challenge" not in record for record in run.records)


def test_the_model_of_a_run_opens_by_the_runs_folder(finished, text_data):
    lm = lmcore.load(finished)
    assert lm.tokenizer.fingerprint == text_data.tokenizer.fingerprint
    assert lm.eos_id == text_data.eos_id
    assert lm.generate("", 5, seed=1) == lmcore.load(str(finished / "model")).generate(
        "", 5, seed=1
    )


def test_a_finished_run_is_loaded_and_nothing_is_written(text_data, copy, config):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.name != ".lock"}
    lines = []
    train_text(text_data, copy, config, runtime=PLAIN, show=lines.append)
    assert len(lines) == 1
    assert "is finished: 12 steps" in lines[0]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_paths_may_be_text(text_data, copy, config):
    run = train_text(str(text_data.folder), str(copy), config, runtime=PLAIN)
    assert run.config == config


@pytest.mark.parametrize("step", [4, 8, 12])
def test_a_run_that_stops_at_a_score_goes_on_to_the_same_numbers(
    text_data, config, finished, tmp_path, step
):
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        train_text(text_data, out, config, runtime=EVERY_STEP, show=stopped_at(step))
    train_text(text_data, out, config, runtime=EVERY_STEP)
    assert same_run(out, finished)


def test_a_run_without_samples_has_the_same_numbers(text_data, config, finished, tmp_path):
    none = SampleConfig(max_new_tokens=0)
    train_text(text_data, tmp_path / "run", config, runtime=PLAIN, samples=none)
    assert numbers(tmp_path / "run") == numbers(finished)
    assert not (tmp_path / "run" / "samples.jsonl").exists()


def test_another_seed_gives_other_numbers(text_data, config, finished, tmp_path):
    other = dataclasses.replace(config, seed=config.seed + 1)
    train_text(text_data, tmp_path / "run", other, runtime=PLAIN)
    assert numbers(tmp_path / "run")[0] != numbers(finished)[0]


def test_samples_follow_the_same_prompts_at_each_evaluation(finished, text_data):
    samples = read_samples(finished)
    prompts = default_prompts(text_data)
    assert [(s.step, s.prompt) for s in samples] == [(n, p) for n in (4, 8, 12) for p in prompts]


def test_default_prompts_begin_validation_documents(text_data):
    tokens = text_data.validation
    documents = text_data.tokenizer.decode(tokens.ids.tolist()).split("<|endoftext|>")
    assert len(default_prompts(text_data)) == 2
    for prompt in default_prompts(text_data):
        assert any(document.startswith(prompt) for document in documents)


def test_prompts_of_the_user_are_used(text_data, config, tmp_path):
    mine = SampleConfig(prompts=("Show HN",), max_new_tokens=3)
    train_text(text_data, tmp_path / "run", config, runtime=PLAIN, samples=mine)
    assert {sample.prompt for sample in read_samples(tmp_path / "run")} == {"Show HN"}


def test_the_saved_model_is_that_of_the_best_score(text_data, config, tmp_path):
    """At this rate the loss rises after a while."""
    rising = with_fields(config, lr=0.3, steps=40, patience=2, eval_every=2, max_grad_norm=None)
    run = train_text(text_data, tmp_path / "run", rising, runtime=PLAIN)
    scored = [record for record in run.records if "validation" in record]
    best = min(scored, key=lambda record: record["validation"].nats)
    assert run.records[-1]["stop_reason"] == f"no better validation loss since step {best['step']}"
    assert run.outcome["saved_step"] == best["step"] < run.records[-1]["step"]
    model = lmcore.load(tmp_path / "run").model
    score = lmcore.TextTask(
        batches=lmcore.Batches(text_data.train, 4, 16),
        validation=text_data.validation,
        eos_id=text_data.eos_id,
    ).scores(model)["validation"]
    assert score == best["validation"]


def test_without_a_patience_the_last_weights_are_saved(text_data, config, tmp_path):
    last = with_fields(config, lr=0.3, steps=40, patience=None, eval_every=2, max_grad_norm=None)
    run = train_text(text_data, tmp_path / "run", last, runtime=PLAIN)
    assert run.outcome["saved_step"] == 40


# Extending


def test_an_extended_run_equals_one_of_that_length_if_its_rate_is_constant(
    text_data, config, tmp_path
):
    constant = with_fields(config, {"schedule.kind": "constant"})
    longer = with_fields(constant, steps=20)
    train_text(text_data, tmp_path / "whole", longer, runtime=PLAIN)
    train_text(text_data, tmp_path / "parts", constant, runtime=PLAIN)
    train_text(text_data, tmp_path / "parts", constant, runtime=PLAIN, extend_to=20)
    assert same_run(tmp_path / "parts", tmp_path / "whole")
    assert stored_run(tmp_path / "parts") == longer


def test_an_extension_is_recorded_and_the_same_command_goes_on(text_data, config, copy):
    with pytest.raises(StoppedError):
        train_text(
            text_data, copy, config, runtime=EVERY_STEP, extend_to=20, show=stopped_at(16)
        )  # fmt: skip
    for _ in ("resumed", "finished"):
        run = train_text(text_data, copy, config, runtime=EVERY_STEP, extend_to=20)
        assert run.records[-1]["step"] == 20
    assert run.environment["extensions"] == [{"from_steps": 12, "to_steps": 20}]


def test_a_run_cannot_be_extended_to_less(text_data, config, copy):
    with pytest.raises(ValueError, match="has 12 steps: --extend-to 5 is not longer"):
        train_text(text_data, copy, config, runtime=PLAIN, extend_to=5)


def test_a_run_that_ended_early_cannot_be_extended(text_data, config, tmp_path):
    short = with_fields(config, max_s=1e-9)
    train_text(text_data, tmp_path / "run", short, runtime=PLAIN)
    with pytest.raises(ValueError, match=r"ended early \(reached the time limit"):
        train_text(text_data, tmp_path / "run", short, runtime=PLAIN, extend_to=50)


def test_a_run_that_is_not_there_cannot_be_extended(text_data, config, tmp_path):
    with pytest.raises(ValueError, match="no run to extend"):
        train_text(text_data, tmp_path / "run", config, runtime=PLAIN, extend_to=50)


# What is refused


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_changed_config_is_refused_with_both_values(text_data, config, copy, is_finished):
    if not is_finished:
        (copy / "outcome.json").unlink()
    other = with_fields(config, d_model=32, lr=0.5)
    with pytest.raises(ValueError, match=r"model\.d_model 16 -> 32") as error:
        train_text(text_data, copy, other, runtime=PLAIN)
    assert "train.optimizer.lr 0.003 -> 0.5" in str(error.value)


def test_another_length_is_refused_with_the_way_to_train_longer(text_data, config, copy):
    longer = with_fields(config, steps=99)
    with pytest.raises(ValueError, match=r"train.steps 12 -> 99.*--extend-to"):
        train_text(text_data, copy, longer, runtime=PLAIN)


@pytest.fixture(scope="module")
def other_data(text_data, tmp_path_factory):
    """The same text, prepared with a tokenizer of another size."""
    text = text_data.folder.parent / "text.txt"
    settings = PrepareConfig(vocab_size=290, reading=Reading(one_document_per="line"))
    return prepare(text, tmp_path_factory.mktemp("other") / "data", settings)


def test_data_of_another_tokenizer_are_refused_naming_both(other_data, text_data, config, copy):
    changes = {"vocab_size": 290, "d_model": 16, "n_layers": 1, "n_heads": 2}
    theirs = text_run(other_data, "tiny", changes, context_length=16, batch_size=4, steps=12)
    with pytest.raises(ValueError, match="began on") as error:
        train_text(other_data, copy, theirs, runtime=PLAIN)
    for data in (text_data, other_data):
        assert str(data.folder) in str(error.value)
        assert data.tokenizer.fingerprint in str(error.value)


def test_a_config_of_other_data_is_refused_naming_both(other_data, text_data, config, tmp_path):
    with pytest.raises(ValueError, match="make the config from the data") as error:
        train_text(other_data, tmp_path / "run", config, runtime=PLAIN)
    for data in (text_data, other_data):
        assert data.tokenizer.fingerprint in str(error.value)


def test_a_folder_of_something_else_is_refused(text_data, config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"no run but notes\.txt"):
        train_text(text_data, tmp_path, config, runtime=PLAIN)
    with pytest.raises(ValueError, match="holds a prepared text"):
        train_text(text_data, text_data.folder, config, runtime=PLAIN)
    with pytest.raises(ValueError, match="is a file"):
        train_text(text_data, tmp_path / "notes.txt", config, runtime=PLAIN)


def test_a_saved_model_is_not_taken_for_a_run(text_data, config, finished):
    with pytest.raises(ValueError, match="is not that of a run"):
        train_text(text_data, finished / "model", config, runtime=PLAIN)


def test_a_text_that_fills_no_batch_is_one_clear_line(text_data, config, tmp_path):
    large = with_fields(config, batch_size=100_000)
    with pytest.raises(ValueError, match="do not fill one batch of 100000 x 16"):
        train_text(text_data, tmp_path / "run", large, runtime=PLAIN)
    assert not (tmp_path / "run").exists()


def test_a_validation_text_shorter_than_the_context_is_one_clear_line(text_data, config, tmp_path):
    long = with_fields(config, context_length=9_000, batch_size=1)
    with pytest.raises(ValueError, match="validation tokens, fewer than context_length 9000"):
        train_text(text_data, tmp_path / "run", long, runtime=PLAIN)


def test_a_run_that_diverges_says_what_to_do_and_is_not_finished(text_data, config, tmp_path):
    wild = with_fields(config, lr=1e9, max_grad_norm=None, steps=60)
    with pytest.raises(DivergedError, match=r"lower lr .* another --out"):
        train_text(text_data, tmp_path / "run", wild, runtime=PLAIN)
    assert not (tmp_path / "run" / "outcome.json").exists()
    with pytest.raises(ValueError, match="without a model yet"):
        lmcore.load(tmp_path / "run")


def test_two_processes_cannot_train_the_same_run(text_data, config, tmp_path):
    out, refusals = tmp_path / "run", []

    def show(line):
        if "is finished" in line:
            return
        with pytest.raises(ValueError, match="is being written by process") as error:
            train_text(text_data, out, config, runtime=PLAIN)
        refusals.append(error)

    train_text(text_data, out, config, runtime=PLAIN, show=show)
    assert refusals


def test_a_last_line_that_was_cut_off_is_written_again(text_data, config, finished, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        train_text(text_data, out, config, runtime=EVERY_STEP, show=stopped_at(8))
    whole = (out / "metrics.jsonl").read_text()
    (out / "metrics.jsonl").write_text(whole[:-9])
    train_text(text_data, out, config, runtime=EVERY_STEP)
    assert same_run(out, finished)


def test_the_stored_config_names_every_field(finished):
    stored = read_json(finished / "config.json")["config"]
    assert json.dumps(stored["model"]) == json.dumps(dataclasses.asdict(stored_run(finished).model))
    assert set(stored["train"]) >= {"optimizer", "schedule", "evaluation", "steps"}

"""lmcore train, called as the command line calls it, stopped and taken up again."""

import dataclasses
import signal
import sys

import pytest
import torch
from made import PLAIN, stopped

import lmcore
from lmcore.cli import main
from lmcore.cli.flags import field_docs, flag_changes, flags_of
from lmcore.experiments.metrics_file import read_metrics
from lmcore.experiments.samples import read_samples
from lmcore.experiments.text_config import changed, preset_run, text_run
from lmcore.experiments.text_run import stored_run, train_text
from lmcore.model.config import ModelConfig
from lmcore.model.rope import RopeScaling
from lmcore.training.config import (
    EvaluationConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)

SHAPE = (
    "--model.context-length", "16", "--model.d-model", "16", "--model.n-layers", "1",
    "--model.n-heads", "2", "--train.batch-size", "4", "--train.schedule.warmup-steps", "2",
    "--train.evaluation.eval-every", "4",
)  # fmt: skip
RUNTIME = (
    "--runtime.device", "cpu", "--runtime.precision", "float32", "--runtime.compile", "no",
    "--runtime.checkpoint-every-s", "0",
)  # fmt: skip
SMALL = ("--preset", "tiny", *SHAPE, "--train.steps", "12", *RUNTIME)


@pytest.fixture
def command(text_data, tmp_path, monkeypatch, capsys):
    """Call lmcore train on the small text; return its status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, out="run"):
        words = ["lmcore", "train", str(text_data.folder), "--out", out, *arguments]
        monkeypatch.setattr(sys, "argv", words)
        try:
            status = main()
        except SystemExit as error:
            status = error.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def same_in_python(text_data):
    """The config that SMALL describes."""
    return text_run(
        text_data, "tiny", context_length=16, d_model=16, n_layers=1, n_heads=2, batch_size=4,
        warmup_steps=2, eval_every=4, steps=12,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(text_data, same_in_python, tmp_path_factory):
    """The folder of the run that SMALL describes, made in Python without a stop."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train_text(text_data, out, same_in_python, runtime=PLAIN)
    return out


def numbers(out):
    records = read_metrics(out / "metrics.jsonl")
    return [{n: v for n, v in record.items() if n != "elapsed_s"} for record in records]


def same_run(one, other):
    """Return whether two runs have the same numbers, samples and weights."""
    weights = [lmcore.load(out).model.state_dict() for out in (one, other)]
    return (
        numbers(one) == numbers(other)
        and read_samples(one) == read_samples(other)
        and all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    )


def test_flags_and_python_train_the_same_run(command, tmp_path, whole, same_in_python):
    status, out, _ = command(*SMALL)
    assert status == 0
    assert stored_run(tmp_path / "run") == same_in_python
    assert same_run(tmp_path / "run", whole)
    assert "parameters, 12 steps, 768 tokens" in out
    assert "step 12: validation" in out
    assert "is finished" in out


def test_a_finished_run_says_so_in_one_line(command):
    command(*SMALL)
    for arguments in (SMALL, ()):
        status, out, _ = command(*arguments)
        assert (status, len(out.splitlines())) == (0, 1)
        assert "run is finished: 12 steps" in out


def test_the_folder_alone_resumes_a_run_with_its_own_config(command, tmp_path, whole):
    command(*SMALL)
    (tmp_path / "run" / "outcome.json").unlink()
    status, out, _ = command(*RUNTIME)
    assert (status, "resuming after step 12" in out) == (0, True)
    assert same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_goes_on_to_the_same_numbers(command, text_data, tmp_path, number):
    long = (*SMALL, "--train.steps", "60")
    assert command(*long, out="uninterrupted")[0] == 0
    words = [sys.executable, "-m", "lmcore", "train", str(text_data.folder), "--out", "run", *long]
    run = tmp_path / "run"
    status, errors = stopped(words, run / "metrics.jsonl", 12, number, run)
    assert not (run / "outcome.json").exists()
    assert status == (-number if number == signal.SIGKILL else 130)
    if number != signal.SIGKILL:
        assert f"resume with: lmcore train {text_data.folder} --out run" in errors.splitlines()[-1]
    status, out, _ = command(*long)
    assert (status, "resuming after step" in out) == (0, True)
    assert same_run(tmp_path / "run", tmp_path / "uninterrupted")


def test_ctrl_c_while_a_sample_is_written_loses_nothing(text_data, same_in_python, tmp_path, whole):
    def show(line):
        if line.startswith("step 8:"):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_text(text_data, tmp_path / "run", same_in_python, runtime=PLAIN, show=show)
    assert (tmp_path / "run" / "checkpoints" / "step0000008.safetensors").exists()
    train_text(text_data, tmp_path / "run", same_in_python, runtime=PLAIN)
    assert same_run(tmp_path / "run", whole)


def test_extend_to_trains_longer_and_the_same_command_then_does_nothing(command, tmp_path):
    command(*SMALL)
    status, out, _ = command(*SMALL, "--extend-to", "16")
    assert (status, "resuming after step 12" in out) == (0, True)
    assert numbers(tmp_path / "run")[-1]["step"] == 16
    status, out, _ = command(*SMALL, "--extend-to", "16")
    assert (status, len(out.splitlines())) == (0, 1)


def test_a_changed_flag_is_refused_with_both_values(command):
    command(*SMALL)
    status, _, errors = command(*SMALL, "--model.d-model", "32", "--seed", "5")
    assert status == 2
    assert "model.d_model 16 -> 32; seed 0 -> 5" in errors
    status, _, errors = command("--train.optimizer.lr", "1")
    assert (status, "train.optimizer.lr 0.003 -> 1.0" in errors) == (2, True)


def test_a_file_goes_on_top_of_the_preset_and_flags_on_top_of_it(command, tmp_path):
    (tmp_path / "my.toml").write_text("[model]\nd_model = 16\nn_heads = 2\n[train]\nsteps = 3\n")
    file = ("--preset", "tiny", "--config", "my.toml", *RUNTIME)
    assert command(*file, "--model.n-heads", "1")[0] == 0
    found, tiny = stored_run(tmp_path / "run"), preset_run("tiny")
    assert (found.model.d_model, found.model.n_heads, found.train.steps) == (16, 1, 3)
    assert found.train.optimizer == tiny.train.optimizer
    status, out, _ = command(*file, "--model.n-heads", "1")
    assert (status, "is finished" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "none.toml"), "none.toml"),
        (("--preset", "huge"), "preset must be one of tiny, small, gpt2, llama, not 'huge'"),
        (("--model.d-model", "130"), "d_model 130 does not split into 4 heads"),
        (("--train.steps", "5", "--train.epochs", "2"), "exactly one of epochs, steps"),
        (("--train.batch-size", "100000"), "do not fill one batch of 100000"),
        (("--runtime.device", "cuda"), "torch sees no GPU"),
        (("--runtime.device", "tpu"), "unknown device 'tpu'"),
        (("--train.schedule.kind", "constant", "--train.schedule.min-lr-ratio", "0.1"), "constant"),
        (("--train.schedule.warmup-steps", "900"), "warmup_steps must be between 0 and the 500"),
        (("--extend-to", "5"), "no run to extend"),
        (("--model.rope-scaling.factor", "2"), "rope_scaling also needs low_freq_factor"),
    ],
)
def test_a_mistake_is_one_line(command, arguments, message):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    status, _, errors = command("--preset", "tiny", *arguments)
    [line] = [line for line in errors.splitlines() if line.startswith("lmcore: ")]
    assert status == 2
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--model.d-modl", "3"), ("--model.d-modl", "--model.d-model")),
        (("--train.optimiser.lr", "3"), ("--train.optimiser.lr", "--train.optimizer.lr")),
        (("--model.d-model", "wide"), ("--model.d-model", "wide")),
        (("--train.optimizer.kind", "adam"), ("--train.optimizer.kind", "adam", "adamw")),
    ],
)
def test_an_unknown_option_or_a_wrong_type_names_the_option_meant(command, arguments, names):
    status, _, errors = command(*arguments)
    assert status == 2
    assert all(name in errors for name in names), errors


def test_a_folder_without_a_prepared_text_is_one_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lmcore", "train", str(tmp_path), "--out", "run"])
    assert main() == 2
    assert "lmcore prepare TEXT" in capsys.readouterr().err


# Flags


@pytest.mark.parametrize(
    "kind", [ModelConfig, TrainConfig, OptimizerConfig, ScheduleConfig, EvaluationConfig]
)
def test_every_field_has_a_docstring_for_its_flag(kind):
    docs = field_docs(kind)
    assert [field.name for field in dataclasses.fields(kind)] == [*docs]
    assert all(docs.values())


def test_flags_without_a_change_change_nothing():
    for name in ("tiny", "gpt2"):
        config = preset_run(name)
        for part in (config.model, config.train):
            assert flag_changes(part, flags_of(part)()) == {}


def test_flags_are_checked_together():
    model = preset_run("tiny").model
    flags = flags_of(model)(d_model=130, n_heads=5)
    assert changed(preset_run("tiny"), flag_changes(model, flags)).model.d_head == 26


def test_an_optional_config_is_made_from_its_flags():
    model = ModelConfig(vocab_size=9)
    kind = flags_of(model)
    inner = kind().rope_scaling
    numbers = {"factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    given = dataclasses.replace(inner, **numbers, original_context_length=64)
    scaling = RopeScaling(**numbers, original_context_length=64)
    assert flag_changes(model, kind(rope_scaling=given)) == {"rope_scaling": scaling}
    begun = dataclasses.replace(model, rope_scaling=scaling)
    kind = flags_of(begun)
    given = dataclasses.replace(kind().rope_scaling, factor=4.0)
    assert flag_changes(begun, kind(rope_scaling=given)) == {"rope_scaling.factor": 4.0}

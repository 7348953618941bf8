"""lmcore go: what it chooses, that the commands it prints do the same, and that it resumes."""

import json
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
from made import PLAIN

from lmcore.cli import main
from lmcore.cli.go import training_s
from lmcore.data import grammar
from lmcore.experiments.samples import read_samples
from lmcore.experiments.text_config import text_run
from lmcore.experiments.text_defaults import (
    MAX_EPOCHS,
    default_run,
    default_vocab_size,
    flags_for,
    flops_per_step,
    step_seconds,
)
from lmcore.experiments.text_run import planned_steps, stored_run, text_task

RUNTIME = (
    "--runtime.device", "cpu", "--runtime.precision", "float32", "--runtime.compile", "no",
)  # fmt: skip


@pytest.fixture
def lmcore(tmp_path, monkeypatch, capsys):
    """Call the command line in an empty folder with a small text; return status and output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "titles.txt").write_text("\n".join(grammar.titles(200, seed=0)))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lmcore", *arguments])
        try:
            status = main()
        except SystemExit as error:
            status = error.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_any_text_becomes_a_model_that_writes(lmcore, tmp_path):
    status, out, _ = lmcore("go", "titles.txt", "--minutes", "0.05", *RUNTIME)
    assert status == 0
    assert "is finished" in out
    for folder in ("data", "run"):
        assert (tmp_path / "runs" / "titles" / folder).is_dir()


def test_the_printed_commands_train_the_same_run(lmcore, tmp_path):
    _, out, _ = lmcore("go", "titles.txt", "--minutes", "0.05", "--out", "mine", *RUNTIME)
    lines = [shlex.split(line) for line in out.splitlines() if line.startswith("  lmcore ")]
    assert [words[1] for words in lines] == ["prepare", "train", "generate"]
    for words in lines[:2]:
        runtime = RUNTIME if words[1] == "train" else ()
        assert lmcore(*words[1:], *runtime)[0] == 0
    assert stored_run(tmp_path / "mine" / "another") == stored_run(tmp_path / "mine" / "run")
    run, another = (read_samples(tmp_path / "mine" / name) for name in ("run", "another"))
    assert run == another


def test_the_same_command_trains_once_and_writes_again(lmcore, tmp_path):
    go = ("go", "titles.txt", "--minutes", "0.05", "--prompt", "Show", *RUNTIME)
    texts = [lmcore(*go)[1].splitlines()[-1] for _ in range(2)]
    config = stored_run(tmp_path / "runs" / "titles" / "run")
    assert texts[0] == texts[1]
    assert len((tmp_path / "runs/titles/run/metrics.jsonl").read_text().splitlines()) == (
        config.train.steps + 1
    )


def test_the_prompt_begins_the_text(lmcore):
    _, out, _ = lmcore("go", "titles.txt", "--minutes", "0.05", "--prompt", "Ask HN", *RUNTIME)
    assert "Ask HN" in out.split("is finished")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.txt",), "nothing.txt does not exist"),
        ((), "no text was given"),
        (("titles.txt", "--minutes", "0"), "minutes must be a finite number above 0, not 0"),
        (("titles.txt", "--minutes", "nan"), "minutes must be a finite number above 0, not nan"),
        (("titles.txt", "--minutes", "inf"), "minutes must be a finite number above 0, not inf"),
        (("titles.txt", "--out", "titles.txt"), "titles.txt is a file: name a folder"),
        (("titles.txt", "--out", "titles.txt/out"), "titles.txt is a file: name a folder"),
        (("titles.txt", "--runtime.device", "tpu"), "unknown device 'tpu'"),
    ],
)
def test_a_mistake_is_one_line(lmcore, arguments, message):
    status, _, errors = lmcore("go", *arguments)
    assert status == 2
    assert message in errors.splitlines()[-1]


def test_another_field_of_json_lines_is_named_in_go_and_in_the_commands_it_prints(lmcore, tmp_path):
    rows = [json.dumps({"body": title}) for title in grammar.titles(200, seed=0)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    status, out, _ = lmcore("go", "rows.jsonl", "--field", "body", "--minutes", "0.05", *RUNTIME)
    [words] = [shlex.split(line) for line in out.splitlines() if line.startswith("  lmcore prep")]
    assert (status, words[-2:]) == (0, ["--field", "body"])
    assert "left as it is" in lmcore(*words[1:])[1]


def test_ctrl_c_before_training_begins_names_the_command_that_resumes(lmcore, tmp_path):
    words = ["go", "titles.txt", "--one-document-per", "line"]
    command = [sys.executable, "-m", "lmcore", *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "runs/titles/.data.holder.json").exists():
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        last_line = process.communicate(timeout=60)[1].splitlines()[-1]
    again = "lmcore go titles.txt --out runs/titles --one-document-per line"
    assert (process.returncode, last_line) == (130, f"lmcore: stopped; resume with: {again}")


# What is chosen


def test_the_model_has_half_of_the_time_however_long_preparing_took():
    assert [training_s(2.0, elapsed_s) for elapsed_s in (0.0, 30.0, 60.0, 500.0)] == [
        120.0, 90.0, 60.0, 60.0,
    ]  # fmt: skip


def test_more_time_takes_more_steps_or_a_larger_model(text_data):
    short, long = (default_run(text_data, seconds, PLAIN) for seconds in (1.0, 20.0))
    costs = [config.train.steps * flops_per_step(config) for config in (short, long)]
    assert costs[0] < costs[1]


def test_a_small_text_is_not_read_more_often_than_helps(text_data):
    config = default_run(text_data, 1e6, PLAIN)
    tokens = planned_steps(config, text_task(text_data, config)) * 128 * config.train.batch_size
    assert tokens <= MAX_EPOCHS * text_data.train.info.n_tokens


def test_measuring_leaves_random_numbers_alone(text_data):
    before = torch.get_rng_state()
    step_seconds(text_run(text_data, "tiny", batch_size=2, context_length=16), text_data, PLAIN)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_larger_text_has_a_larger_vocabulary(tmp_path):
    sizes = []
    for n in (1_000, 1_000_000, 5_000_000, 40_000_000):
        (tmp_path / "text.txt").write_bytes(b"a" * n)
        sizes.append(default_vocab_size(tmp_path / "text.txt"))
    assert sizes == sorted(set(sizes)) == [512, 1_000, 4_000, 10_000]


def test_a_hub_data_set_has_the_largest_vocabulary():
    assert default_vocab_size("hub:owner/name") == 10_000


def test_flags_of_a_preset_are_the_preset_alone(text_data):
    assert flags_for(text_run(text_data, "tiny")) == ["--preset", "tiny"]
    assert flags_for(text_run(text_data, "small", d_model=64), "small") == [
        "--preset", "small", "--model.d-model", "64",
    ]  # fmt: skip

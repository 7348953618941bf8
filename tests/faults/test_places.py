"""Where it runs: terminals of other encodings, no home, other folders, checkouts not installed."""

import importlib.metadata
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lmcore.cli
import lmcore.cli.commands
from lmcore.cli import notebooks, run
from lmcore.data.batches import available_device
from lmcore.experiments.environment import environment
from lmcore.model.rope import rope_table
from lmcore.studies import all_studies
from lmcore.training.runtime import Runtime

ROOT = Path(__file__).resolve().parents[2]

ENCODINGS = ("ascii", "cp1252", "latin-1", "cp437", "utf-8", "utf-16")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_a_terminal_has_no_sign_for_ends_no_command(monkeypatch, encoding, stream):
    text, raw = "█ → é 中 � \ud800 \U0001f600 $", io.BytesIO()
    monkeypatch.setattr(sys, stream, io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(
        lmcore.cli.commands, "run_command", lambda: print(text, file=getattr(sys, stream)) or 0
    )
    assert lmcore.cli.main() == 0
    getattr(sys, stream).flush()
    shown = raw.getvalue().decode(encoding).strip()
    expected = [c if c != "\ud800" and can_show(c, encoding) else "?" for c in text]
    assert shown == "".join(expected)


def can_show(character, encoding):
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def test_the_command_line_runs_in_a_bare_environment_of_another_encoding(tmp_path):
    """Without HOME and PATH, in ASCII, with a checkout on the path, in a folder of its own."""
    (tmp_path / "text.txt").write_text("naïve → café $5 中\n" * 400, encoding="utf-8")
    kept = {k: v for k, v in os.environ.items() if k in ("SYSTEMROOT", "TMPDIR", "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-m", "lmcore", "go", "text.txt", "--minutes", "0.02"],
        cwd=tmp_path,
        env=kept | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr[-2000:]) == (0, done.stderr[-2000:])
    assert "Traceback" not in done.stderr
    assert (tmp_path / "runs/text/run/model/config.json").exists()


def test_notebooks_in_another_folder_are_missed_and_not_passed_over(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"notebooks holds no notebooks: run this in a checkout"):
        notebooks.run()


def test_a_checkout_that_is_not_installed_says_so_in_its_runs(monkeypatch):
    def version(name):
        if name in ("lmcore", "numba"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = environment(Runtime(device="cpu").resolve(0))
    assert (found["lmcore"], found["numba"], found["torch"]) == (
        "not installed", "not installed", "1.0",
    )  # fmt: skip


# The list of choices in a message is the list that is accepted


def test_each_device_that_a_message_names_is_taken_where_torch_has_it(monkeypatch):
    with pytest.raises(ValueError, match="unknown device 'tpu': take cpu, cuda, mps or auto"):
        Runtime(device="tpu").resolve(0)
    for device in ("cpu", "cuda", "mps"):
        is_there = device == "cpu"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        if not is_there:
            with pytest.raises(ValueError, match=f"device {device} was asked for, but torch sees"):
                Runtime(device=device).resolve(0)
    with pytest.raises(ValueError, match="unknown device 'tpu0': take cpu, cuda or mps"):
        available_device("tpu0")


def test_a_macs_gpu_trains_uncompiled_in_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    resolved = Runtime(device="mps").resolve(1e20)
    assert (resolved.device, resolved.precision, resolved.compile) == ("mps", "float32", "no")
    with pytest.raises(ValueError, match="mps trains in float32"):
        Runtime(device="mps", precision="bfloat16").resolve(0)
    with pytest.raises(ValueError, match="has no TF32"):
        Runtime(device="mps", precision="tf32").resolve(0)


def test_a_device_may_be_torchs_own_object(no_type_checks):
    assert Runtime(device=torch.device("cpu")).device == "cpu"


def test_each_study_that_a_message_names_is_run(monkeypatch):
    with pytest.raises(ValueError, match="there is no study 'x'; choose one of:") as caught:
        run.run("x")
    names = str(caught.value).partition("one of: ")[2].split(", ")
    assert names == [*all_studies(), "all"]
    asked = []
    monkeypatch.setattr(run, "chosen_experiments", lambda study, *_: asked.append(study.name) or ())
    for name in names:
        run.run(name)
    published = [name for name, study in all_studies().items() if study.is_published]
    assert asked == [*all_studies(), *published]


def test_angles_take_the_positions_of_a_tensor_only():
    for positions in ([0, 1], 3, None):
        with pytest.raises((ValueError, TypeError), match="positions"):  # types: in tests alone
            rope_table(positions, 4)

"""lmcore runs: what it lists, filters, sorts, writes and draws."""

import io
import shutil
import sys

import pandas as pd
import pytest
from made import PLAIN

from lmcore.cli import main
from lmcore.experiments.find_runs import find_runs
from lmcore.experiments.text_config import text_run
from lmcore.experiments.text_run import train_text
from lmcore.report.run_table import labels, selected
from lmcore.studies import config_type_of

SMALL = {
    "d_model": 16, "n_layers": 1, "n_heads": 2, "context_length": 16, "batch_size": 4, "steps": 4,
    "eval_every": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(text_data, tmp_path_factory):
    """A folder with three runs, of which one is not finished."""
    folder = tmp_path_factory.mktemp("runs")
    for name, change in {"a": {}, "b": {"lr": 0.1}, "c": {"lr": 0.1, "seed": 1}}.items():
        config = text_run(text_data, "tiny", SMALL, **change)
        train_text(text_data, folder / name, config, runtime=PLAIN)
    (folder / "c" / "outcome.json").unlink()
    return folder


@pytest.fixture
def command(trained, tmp_path, monkeypatch, capsys):
    """Call lmcore runs in a workspace with the runs; return its status, output and errors."""
    shutil.copytree(trained, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lmcore", "runs", *arguments])
        status = main()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def folders(out):
    """Return the first column of a printed table."""
    return [
        line.split()[0]
        for line in out.splitlines()[1:]
        if not line.startswith(("wrote ", "not shown"))
    ]


def test_every_run_is_a_row_with_what_differs(command):
    status, out, _ = command()
    assert status == 0
    assert folders(out) == ["runs/a", "runs/b", "runs/c"]
    head = out.splitlines()[0].split()
    assert {"lr", "seed", "is_finished", "step", "validation.bpb"} <= set(head)
    assert "d_model" not in head


def test_runs_are_named_by_folder_or_one_by_one(command):
    assert folders(command("runs/b")[1]) == ["runs/b"]
    assert folders(command("runs/c", "runs")[1]) == ["runs/c", "runs/a", "runs/b"]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["lr=0.1"], "bc"),
        (["train.optimizer.lr!=0.1"], "a"),
        (["lr>=0.003", "seed<1"], "ab"),
        (["name=a"], "a"),
        (["d_model=16", "train.optimizer.kind=adamw"], "abc"),
        (["is_finished=False"], "c"),
        (["lr > 0.01"], "bc"),
    ],
)
def test_conditions_select_runs(command, conditions, expected):
    assert folders(command("--where", *conditions)[1]) == [f"runs/{name}" for name in expected]


def test_runs_are_sorted_by_a_column(trained):
    runs = find_runs([trained])
    _, up = selected(runs, sort="bpb")
    _, down = selected(runs, sort="validation.bpb", descending=True)
    losses = up["validation.bpb"].tolist()
    assert losses == sorted(losses)
    assert down["validation.bpb"].tolist() == losses[::-1]


def test_an_unfinished_run_shows_its_newest_score(trained):
    run = find_runs([trained / "c"])[0]
    assert run.outcome == {}
    _, frame = selected([run])
    assert frame["validation.loss"].tolist() == [run.records[-1]["validation"].loss]


def test_study_runs_and_text_runs_share_a_table(trained, smoke_run):
    _, frame = selected([*find_runs([trained / "a"]), smoke_run[1]])
    assert frame["study"].tolist() == ["text", "baseline"]
    assert frame["name"].tolist() == ["a", smoke_run[1].config.name]


def test_a_csv_file_has_every_column(command, tmp_path, trained):
    command("--csv", "all.csv")
    read = pd.read_csv(tmp_path / "all.csv")
    _, frame = selected(find_runs([trained]))
    assert list(read) == list(frame)
    assert read["validation.loss"].tolist() == frame["validation.loss"].tolist()


@pytest.mark.parametrize(("name", "begins"), [("c.svg", b"<?xml"), ("c.png", b"\x89PNG")])
def test_curves_are_drawn_in_the_format_of_the_file(command, tmp_path, name, begins):
    status, out, _ = command("--plot", name)
    assert (status, f"wrote {name}" in out) == (0, True)
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_a_drawing_names_each_run_and_the_unit(command, tmp_path):
    command("--plot", "c.svg")
    text = (tmp_path / "c.svg").read_text()
    assert all(f">{name}<" in text for name in ("a", "b", "c"))
    assert "validation loss, bits/byte" in text


def test_labels_leave_out_what_all_share():
    assert labels(["runs/x/a", "runs/x/b"]) == ["a", "b"]
    assert labels(["runs/x/a", "runs/y"]) == ["x/a", "y"]
    assert labels(["runs/x/a"]) == ["a"]


def test_a_narrow_terminal_leaves_out_settings_and_says_which(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = command()
    head, *_, last = out.splitlines()
    assert "is_finished" in head
    assert last == "not shown: seed, lr (--columns, --csv)"
    _, out, _ = command("--columns", "lr", "stop_reason", "--sort", "tokens")
    assert {"lr", "tokens"} <= set(out.splitlines()[0].split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere is not a folder"),
        (("--where", "d_modl=3"), "no column d_modl: did you mean"),
        (("--where", "lr"), "'lr' is no condition"),
        (("--where", "name<a"), "needs a number after <"),
        (("--where", "lr=7"), "no run meets lr=7"),
        (("--sort", "los"), "no column los: did you mean"),
        (("--plot", "c.xyz"), "xyz"),
    ],
)
def test_a_mistake_is_one_line(command, arguments, message):
    status, _, errors = command(*arguments)
    assert status == 2
    assert errors.startswith("lmcore: ")
    assert message in errors


def test_without_runs_here_a_folder_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lmcore", "runs"])
    assert main() == 2
    assert "name a folder of runs" in capsys.readouterr().err


def test_every_committed_run_is_found(committed_runs):
    results = {run.folder.parents[2] for run in committed_runs}
    found = find_runs(results, config_type_of)
    assert [run.folder for run in found] == [run.folder for run in committed_runs]
    _, frame = selected(found, ["study=adamw_swap"], "bpb")
    assert set(frame["study"]) == {"adamw_swap"}
    assert io.StringIO(frame.to_csv(index=False)).readline().startswith("folder,study,name,seed")

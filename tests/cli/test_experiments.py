"""lmcore experiments: list, details, run, batch, status, compare, and what a mistake looks like."""

import csv
import os
import re
import sys
from pathlib import Path

import pexpect
import pytest

from lmcore.cli import main

ROOT = Path(__file__).parents[2]
PLAIN = (
    "--runtime.device", "cpu", "--runtime.precision", "float32", "--runtime.compile", "no",
)  # fmt: skip
SMOKE = ("--scale", "smoke", "--seeds", "1", "--set", "steps=4")


@pytest.fixture
def lmcore(tmp_path, monkeypatch, capsys):
    """Call the command line in an empty workspace; return its status, output and errors."""
    (tmp_path / "myst.yml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LMCORE_DATA", raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lmcore", "experiments", *map(str, arguments)])
        try:
            status = main()
        except SystemExit as stop:
            status = stop.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_every_experiment_is_listed_with_what_it_changes(lmcore):
    status, out, _ = lmcore("list")
    assert status == 0
    assert re.search(r"^vocab_small +a vocabulary of 10,000$", out, re.MULTILINE)
    assert re.search(r"^quick +baseline, vocab_small, embd_small$", out, re.MULTILINE)


def test_without_a_terminal_the_menu_is_the_list(lmcore):
    assert lmcore() == lmcore("list")


def test_details_show_what_differs_and_what_it_costs(lmcore):
    status, out, _ = lmcore("details", "arch_deep", *SMOKE)
    assert status == 0
    assert "| model.n_layers | 4 | 8 |" in out
    assert "parameters" in out
    assert "minutes on" in out


def test_a_batch_is_run_compared_and_not_run_again(lmcore, tmp_path):
    status, out, errors = lmcore("run", "baseline", "arch_deep", *SMOKE, *PLAIN)
    assert status == 0
    assert "2 of 2 runs finished" in errors
    assert "against baseline-steps4" in out  # both have the change that --set makes
    assert "none of 1" not in out
    folder = tmp_path / ".smoke/runs/named/baseline-steps4/seed1"
    assert {path.name for path in folder.iterdir()} > {"model", "loss.svg", "samples.md"}
    again = lmcore("run", "baseline", "arch_deep", *SMOKE, *PLAIN)
    assert again[1] == out
    assert "minutes" not in again[2]  # nothing is left to cost anything


def test_a_comparison_is_a_table_numbers_and_figures(lmcore, tmp_path):
    names = ("baseline", "lr_high")
    assert lmcore("run", *names, "--scale", "smoke", "--seeds", "1", *PLAIN)[0] == 0
    status, out, _ = lmcore("compare", *names, "--scale", "smoke", "--seeds", "1")
    assert status == 0
    rows = list(csv.DictReader((tmp_path / "comparison/comparison.csv").read_text().splitlines()))
    assert [row["experiment"] for row in rows] == list(names)
    assert float(rows[1]["against baseline"]) == pytest.approx(
        float(rows[1]["validation, bits/byte"]) - float(rows[0]["validation, bits/byte"])
    )
    assert (tmp_path / "comparison/comparison.md").read_text() in out
    assert {path.name for path in (tmp_path / "comparison").glob("*.svg")} == {
        "changes.svg",
        "costs.svg",
        "tokens.svg",
    }


def test_a_dry_run_says_the_cost_and_trains_nothing(lmcore, tmp_path):
    status, out, errors = lmcore("batch", "quick", *SMOKE, "--dry-run")
    assert (status, len(out.splitlines())) == (0, 5)
    assert "3 runs" in errors
    assert not (tmp_path / ".smoke/results").exists()


def test_status_shows_what_is_finished_and_what_is_not_begun(lmcore):
    lmcore("run", "baseline", *SMOKE, *PLAIN)
    _, out, _ = lmcore("status", "baseline", "lr_high", *SMOKE)
    assert re.search(r"baseline-steps4 \| 1 \| finished \| 4 of 4", out)
    assert re.search(r"lr_high-steps4 \| 1 \| not begun", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "basline"), "did you mean baseline"),
        (("run",), "name an experiment to run"),
        (("batch", "quik"), "did you mean quick"),
        (("run", "baseline"), "novels.txt was not given: name a text with --data FILE"),
        (("run", "baseline", "--from", "mine.py"), "mine.py is not a file that is there"),
        (("compare", "baseline", "--scale", "smoke"), "none of these experiments is finished"),
        (("details", "baseline", "--set", "lr=1", "--set", "train.lr=2"), "contradict each other"),
        (("search", "baselin"), "did you mean baseline_tuned"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(lmcore, arguments, message):
    status, _, errors = lmcore(*arguments)
    assert status == 2
    assert errors.strip().splitlines()[-1].startswith("lmcore: ")
    assert message in errors


def test_in_a_terminal_the_menu_shows_an_experiment_and_ends(tmp_path):
    """Runs in a terminal of its own: down to details, enter, enter, and quit with Ctrl-C."""
    terminal = pexpect.spawn(
        sys.executable, ["-m", "lmcore", "experiments"], cwd=str(tmp_path), timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}, encoding="utf-8",
    )  # fmt: skip
    terminal.expect("lmcore experiments.*quit")
    terminal.send("\x1b[B\r")
    terminal.expect("which experiment.*vocab_small")
    terminal.send("\x1b[B\r")
    terminal.expect("vocab_small\r\n.*model.vocab_size.*50257.*10000.*minutes on")
    terminal.expect("lmcore experiments.*quit")
    terminal.send("\x03")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0

"""All commands together: how they are named, described, completed and misspelt."""

import subprocess
import sys

import pytest

from lmcore.cli import main
from lmcore.cli.commands import COMMANDS, chosen, in_one_line, overview, summary


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Call the command line in an empty folder; return its status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lmcore", *arguments])
        try:
            status = main()
        except SystemExit as error:  # after help
            status = error.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_listed_with_what_it_does(name):
    [line] = [line for line in overview().splitlines() if line.split()[:1] == [name]]
    assert line.endswith(summary(name))
    assert len(summary(name).split()) > 3
    assert "lmcore" not in summary(name)


def test_a_list_of_commands_loads_no_torch():
    code = "import sys; from lmcore.cli import main; main(); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    assert "Exit status: 0 done" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "notebooks"])
def test_help_explains_a_command_its_options_and_the_exit_status(command, name):
    status, out, _ = command(name, "--help")
    assert (status, f"usage: lmcore {name}" in out) == (0, True)
    assert "Exit status: 0 done" in out
    function = chosen(name)[1]
    for option in function.__annotations__.keys() - {"return"}:
        assert option.replace("_", "-") in out.lower() or "positional arguments" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trian",), "there is no command trian: did you mean train?"),
        (("qqq",), "there is no command qqq; it has go, prepare, train"),
        (("prepare", "--vocab-sze", "3", "a", "--out", "b"), "did you mean --vocab-size?"),
        (("generate", "a", "--temperature", "hot"), "--temperature: could not convert string"),
        (("train", "a"), "missing from lmcore train: --out RUN; see lmcore train --help"),
        (("train",), "missing from lmcore train: DIR, --out RUN; see lmcore train --help"),
        (("evaluate",), "missing from lmcore evaluate: RUN"),
        (("runs", "--sort"), "missing value for argument '--sort'"),
        (("train", "a", "--out", "b", "--model.norm", "rsm"), "invalid choice 'rsm'"),
        (("prepare", "a", "--out", "b", "--vocab-size", "1e4"), "--vocab-size: invalid literal"),
    ],
)
def test_a_mistake_in_the_call_is_one_line_that_names_it(command, words, message):
    status, out, errors = command(*words)
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert errors.startswith("lmcore: ")
    assert message in errors


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_is_missing_is_named_whatever_the_terminal_draws(encoding):
    done = subprocess.run(
        [sys.executable, "-m", "lmcore", "ask"],
        capture_output=True,
        text=True,
        env={"PYTHONIOENCODING": encoding, "PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == "lmcore: missing from lmcore ask: QUESTION; see lmcore ask --help\n"


def test_a_message_of_another_form_is_shown_in_one_line_too():
    assert (
        in_one_line("oh\nit went wrong\n", "train") == "oh it went wrong; see lmcore train --help"
    )


def test_bash_completes_commands_options_and_choices(command, tmp_path):
    status, script, _ = command("completion", "bash")
    assert (status, "complete -o default" in script) == (0, True)
    (tmp_path / "script").write_text(script)
    ask = """
        source ./script
        complete_last() {
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _tyro_lmcore
            echo "${COMPREPLY[@]}"
        }
        complete_last lmcore tra
        complete_last lmcore experiments compa
        complete_last lmcore train --model.d-m
        complete_last lmcore train data --preset ti
    """
    done = subprocess.run(
        ["bash", "-c", ask], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.split() == ["train", "compare", "--model.d-model", "tiny"]

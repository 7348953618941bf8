"""make.py sets up once, and says in one line what is missing."""

import ast
import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in programs are shell scripts")


def program(path, *lines):
    """Write a shell script that stands in for a program outside this repository."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)


@pytest.fixture
def bare(make, tmp_path, monkeypatch):
    """Return make.py at the root of another checkout, on a machine with Node 20 and no .venv."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'nothing'\nversion = '1'\n")
    (tmp_path / "constraints.txt").write_text("")
    program(tmp_path / "bin/node", "echo v20.0.0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(make, "ROOT", tmp_path)
    return make


@pytest.fixture
def installed(bare):
    """Return bare with a .venv whose Python writes down what it is asked to do."""
    program(bare.ROOT / ".venv/bin/python", f'echo "$@" >> "{bare.ROOT}/log"')
    bare.set_up()
    (bare.ROOT / "log").unlink()
    return bare


def told(make, capsys, *arguments):
    """Return the exit code of make.py with arguments and the lines it says, pip's own left out."""
    code = make.main(list(arguments))
    lines = capsys.readouterr().err.splitlines()
    return code, [line for line in lines if not line.startswith("    ")]


def test_help_lists_every_command(make, capsys):
    make.main(["help"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == list(make.COMMANDS)


def test_every_command_says_what_it_does(make):
    assert [name for name, command in make.COMMANDS.items() if not command.__doc__] == []


def test_an_old_python_can_read_make_py(make):
    ast.parse(Path(make.__file__).read_text(encoding="utf-8"), feature_version=(3, 8))


def test_an_unknown_command_is_one_line(make, capsys):
    code, [line] = told(make, capsys, "bild")
    assert (code, "'bild'" in line) == (2, True)


def test_an_argument_that_nothing_reads_is_refused(make, capsys):
    code, [line] = told(make, capsys, "run", "--fast")
    assert (code, "--fast" in line) == (2, True)


def test_an_old_python_is_one_line(bare, capsys, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    code, [line] = told(bare, capsys, "test")
    assert (code, "Python 3.8" in line, "3.11" in line) == (2, True, True)


def test_an_old_node_is_one_line(bare, capsys):
    program(bare.ROOT / "bin/node", "echo v18.19.1")
    code, [line] = told(bare, capsys, "site")
    assert (code, "v18.19.1" in line, "nodejs.org" in line) == (2, True, True)


def test_a_missing_node_is_one_line(bare, capsys):
    (bare.ROOT / "bin/node").unlink()
    code, [line] = told(bare, capsys, "run")
    assert (code, "missing" in line, "nodejs.org" in line) == (2, True, True)


def test_no_network_is_one_line(bare, capsys, monkeypatch):
    # pip itself, sent to a port at which nothing listens.
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    code, [line] = told(bare, capsys, "test")
    assert (code, "cannot reach http://127.0.0.1:9/simple" in line) == (2, True)


def test_a_failure_of_pip_is_one_line_and_the_last_of_its_own(bare, capsys):
    program(
        bare.ROOT / ".venv/bin/python", 'test "$3" = --version || { echo "ERROR: no"; exit 1; }'
    )
    assert bare.main(["test"]) == 2
    first, last = capsys.readouterr().err.splitlines()
    assert (first.startswith("make.py: pip"), last) == (True, "    ERROR: no")


def test_a_failed_install_is_tried_again(bare, capsys):
    program(bare.ROOT / ".venv/bin/python", 'test "$3" = --version')
    bare.main(["test"])
    program(bare.ROOT / ".venv/bin/python", f'echo "$@" >> "{bare.ROOT}/log"')
    bare.set_up()
    assert "install" in (bare.ROOT / "log").read_text()


def test_a_full_disk_is_named(make):
    assert "disk" in make.pip_failure(
        "ERROR: Could not install: [Errno 28] No space left on device"
    )


def test_packages_that_contradict_each_other_are_not_blamed_on_the_network(make):
    assert "network" not in make.pip_failure(
        "ERROR: ResolutionImpossible: for help visit pip's page"
    )


def test_a_second_setup_does_nothing(installed):
    installed.set_up()
    assert not (installed.ROOT / "log").exists()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_is_installed(installed, name):
    (installed.ROOT / name).write_text("# changed\n")
    installed.set_up()
    assert "install" in (installed.ROOT / "log").read_text()


def test_a_moved_environment_is_named_and_left_alone(installed, capsys):
    stamp = installed.ROOT / ".venv/lmcore-stamp"
    stamp.write_text("elsewhere\n")
    code, [line] = told(installed, capsys, "test")
    assert (code, "delete it" in line, stamp.exists()) == (2, True, True)


def test_a_program_that_fails_passes_on_its_exit_code(installed, capsys):
    program(installed.ROOT / ".venv/bin/python", "exit 3")
    code, [line] = told(installed, capsys, "test", "-x")
    assert (code, "-x ended with code 3" in line) == (3, True)


def test_ctrl_c_is_one_line(make, capsys, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setitem(make.COMMANDS, "check", interrupted)
    code, [line] = told(make, capsys, "check")
    assert (code, "stopped" in line) == (130, True)

"""lmcore prepare, called as the command line calls it, stopped and called again."""

import signal
import subprocess
import sys

import pytest

from lmcore.cli import main
from lmcore.data import grammar
from lmcore.tasks.prepared_text import load_prepared
from lmcore.tokenizer.byte_bpe import Tokenizer

OPTIONS = ("--out", "data", "--vocab-size", "300", "--one-document-per", "line")


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Call lmcore prepare in a folder with text.txt; return its status, output and errors."""
    (tmp_path / "text.txt").write_text("\n".join(grammar.titles(600, seed=0)))
    monkeypatch.chdir(tmp_path)

    def call(*arguments, text="text.txt"):
        words = ["lmcore", "prepare", text, *OPTIONS, *arguments]
        monkeypatch.setattr(sys, "argv", words)
        status = main()
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return call


def test_what_was_made_is_summed_up_and_a_log_gets_no_bars(command):
    status, out, errors = command()
    assert (status, errors) == (0, "")
    for word in ("60 of 600 documents validate", "bytes per token", "MB/s", "no text is unknown"):
        assert word in out
    assert len(out.split("first tokens: ")[1].splitlines()[0].split()) >= 10
    assert out.splitlines()[-1] == "next: lmcore train data --out RUN"


def test_what_is_there_is_left_alone_and_said_and_what_differs_is_redone(command, tmp_path):
    command()
    before = (tmp_path / "data/train.npy").stat().st_mtime_ns
    assert "left as it is" in command()[1]
    assert (tmp_path / "data/train.npy").stat().st_mtime_ns == before
    assert "left as it is" not in command("--seed", "2")[1]


KILLED = """
import os, signal, sys
from lmcore.tasks import prepared_text

by, place, *arguments = sys.argv[1:]

def ends_here(function, name):
    def call(*arguments, **options):
        if name == place:
            os.kill(os.getpid(), int(by))
        return function(*arguments, **options)
    return call

def partly(documents):
    for number, document in enumerate(documents):
        if number == 50:
            os.kill(os.getpid(), int(by))
        yield document

write = prepared_text.write_documents
def write_partly(path, documents, *rest):
    return write(path, partly(documents) if path.stem == place else documents, *rest)

prepared_text.write_documents = write_partly
prepared_text.write_json = ends_here(prepared_text.write_json, "manifest")
prepared_text._trained = ends_here(prepared_text._trained, "tokenizer")
sys.argv = ["lmcore", "prepare", *arguments]
from lmcore.cli import main
sys.exit(main())
"""
"""A program that gets a signal while it prepares, in the middle of a file or before a step."""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("place", ["tokenizer", "train", "validation", "manifest"])
def test_the_same_command_finishes_what_a_kill_left(command, tmp_path, number, place):
    words = [str(int(number)), place, "text.txt", *OPTIONS]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True)
    assert killed.returncode == (-9 if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert killed.stderr == "lmcore: stopped; the same command prepares the text again\n"
    assert not (tmp_path / "data/prepared.json").exists()
    assert command()[0] == 0
    left = sorted(path.name for path in (tmp_path / "data").iterdir())
    resumed = load_prepared("data")
    assert command("--out", "whole")[0] == 0
    whole = load_prepared("whole")
    assert (resumed.train.info, resumed.validation.info) == (
        whole.train.info,
        whole.validation.info,
    )
    assert left == sorted(path.name for path in (tmp_path / "whole").iterdir())


def test_a_tokenizer_of_a_folder_and_a_validation_text_are_used(command, tmp_path):
    Tokenizer.train(["a b c"] * 3, 258, ["<end>"]).save(tmp_path / "tokens")
    (tmp_path / "held out.txt").write_text("one\ntwo\n")
    given = ("--tokenizer", "tokens", "--special", "<end>", "--validation", "held out.txt")
    status, out, _ = command(*given)
    assert (status, "validation text given" in out) == (0, True)
    assert load_prepared("data").validation.info.n_documents == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "text.txt does not exist"),
        (b"", "text.txt is empty"),
        (b"a\0b", "text.txt looks binary"),
        ("caf\xe9".encode("utf-16"), "text.txt is UTF-16: convert it with iconv"),
        (b"caf\xe9\n" * 9, "or use --errors replace"),
        (b"hi", "the text is too short to split"),
    ],
)
def test_a_text_that_cannot_be_used_is_one_line(command, tmp_path, content, message):
    (tmp_path / "text.txt").unlink()
    if content is not None:
        (tmp_path / "text.txt").write_bytes(content)
    status, out, errors = command()
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert message in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--vocab-size", "100"), "vocab_size 100 is too small: 256 bytes and 1 special tokens"),
        (("--validation-fraction", "2"), "validation_fraction must be between 0 and 1, not 2.0"),
        (("--tokenizer", "nowhere"), "nowhere/tokenizer.json is missing"),
        (("--validation", "nothing.txt"), "nothing.txt does not exist"),
        (("--out", "text.txt"), "text.txt is a file: name a folder"),
    ],
)
def test_a_mistake_is_one_line(command, arguments, message):
    status, out, errors = command(*arguments)
    assert (status, out, errors.count("\n")) == (2, "", 1)
    assert message in errors


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_a_folder_that_cannot_be_made_is_one_line_and_not_waited_for(command):
    status, _, errors = command("--out", "/proc/data")
    assert (status, errors.count("\n")) == (2, 1)
    assert "/proc" in errors

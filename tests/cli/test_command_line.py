"""What a user sees: a mistake is one line that names the thing, never a traceback."""

import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from made import small_disk, stopped

from lmcore.cli import main
from lmcore.files import read_json, write_json

SMALL = ("run", "baseline", "--small", "--only", "sgd", "--seeds", "1337")
PLAIN = (
    "--runtime.device", "cpu", "--runtime.precision", "float32", "--runtime.compile", "no",
)  # fmt: skip
FULL = ("run", "baseline", "--only", "sgd", "--seeds", "1337")
RUN = ".smoke/runs/baseline/sgd/seed1337"
RESULT = ".smoke/results/baseline/sgd/seed1337"


@pytest.fixture
def lmcore(tmp_path, monkeypatch, capsys):
    """Call the command line in an empty workspace; return its status, output and errors."""
    (tmp_path / "myst.yml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LMCORE_DATA", raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lmcore", *map(str, arguments)])
        status = main()
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def begun(smoke_run, tmp_path):
    """A workspace with a prepared corpus and a smoke run that is trained but not yet moved."""
    shutil.copytree(smoke_run[0] / ".smoke", tmp_path / ".smoke")
    shutil.rmtree(tmp_path / ".smoke/results")
    return tmp_path


@pytest.fixture
def finished(smoke_run, tmp_path):
    """A workspace with a finished smoke run."""
    shutil.copytree(smoke_run[0] / ".smoke", tmp_path / ".smoke")
    return tmp_path


def is_one_line(errors, *names):
    """Return whether errors end in one line for the user, which has all names.

    Before it stand only the cost of what was asked for and bars of progress.
    """
    *before, last = errors.replace("\r", "\n").strip().splitlines()
    return (
        last.startswith("lmcore: ")
        and all(str(name) in last for name in names)
        and not any(line.startswith(("lmcore: ", "Traceback")) for line in before)
    )


def test_the_cost_of_a_study_is_printed_before_it_runs(lmcore):
    status, out, _ = lmcore("cost", "baseline", "--runtime.device", "cpu")
    assert status == 0
    assert "27,172,864" in out
    assert "minutes on cpu" in out


def test_studies_are_listed_with_their_questions(lmcore):
    status, out, _ = lmcore("studies")
    assert (status, out.split()[0], out.strip()[-1]) == (0, "adamw_swap", "?")


def test_a_study_that_trains_no_model_is_run_and_costed_too(lmcore, tmp_path):
    folder = tmp_path / ".smoke/results/tokenizer/growth/seed0"
    for _ in ("measured", "loaded"):
        status, out, _ = lmcore("run", "tokenizer", "--small", "--only", "growth")
        assert (status, out.strip()) == (0, str(folder))
    assert lmcore("cost", "tokenizer")[:2] == (0, "tokenizer trains no model\n")


def test_small_runs_are_made_once_each_unless_seeds_are_named(lmcore, tmp_path):
    small = ("run", "grokking", "--small", "--only", "sentence")
    folders = [str(tmp_path / f".smoke/results/grokking/sentence/seed{n}") for n in (101, 103)]
    assert lmcore(*small)[1].split() == folders[:1]
    assert lmcore(*small, "--seeds", "101", "103")[1].split() == folders


def test_an_unknown_study_is_one_line_that_lists_the_others(lmcore):
    status, _, errors = lmcore("run", "nonsense")
    assert status == 2
    assert is_one_line(errors, "nonsense", "baseline")


def test_an_unknown_seed_is_one_line_that_lists_the_others(lmcore):
    status, _, errors = lmcore("run", "baseline", "--seeds", "5")
    assert status == 2
    assert is_one_line(errors, "seed 5", "1337")


def test_an_unknown_device_is_one_line(lmcore):
    status, _, errors = lmcore(*SMALL, "--runtime.device", "tpu")
    assert status == 2
    assert is_one_line(errors, "tpu", "cpu")


def test_missing_titles_are_one_line(lmcore, tmp_path):
    status, _, errors = lmcore(*FULL, *PLAIN, "--data", tmp_path / "nothing.txt")
    assert status == 2
    assert is_one_line(errors, "nothing.txt")


def test_a_folder_without_titles_is_one_line(lmcore, tmp_path):
    status, _, errors = lmcore(*FULL, *PLAIN, "--data", tmp_path)
    assert status == 2
    assert is_one_line(errors, "headlines.txt")


@pytest.mark.parametrize(
    ("content", "says"), [(b"caf\xe9", "UTF-8"), (b"", "empty"), (b"one\ntwo\n", "too few")]
)
def test_titles_that_cannot_be_used_are_one_line(lmcore, tmp_path, content, says):
    (tmp_path / "titles.txt").write_bytes(content)
    status, _, errors = lmcore(*FULL, *PLAIN, "--data", tmp_path / "titles.txt")
    assert status == 2
    assert is_one_line(errors, says)


@pytest.mark.parametrize("name", ["train.npy", "train.json", "tokenizer.json"])
def test_a_corrupt_file_of_the_corpus_is_one_line(lmcore, begun, name):
    paths = list((begun / ".smoke/.cache/corpus").rglob(name))  # other tests may add corpora
    for path in paths:
        path.write_bytes(path.read_bytes()[:-9])
    status, _, errors = lmcore(*SMALL, *PLAIN)
    assert status == 2
    assert is_one_line(errors, "damaged")
    assert any(str(path) in errors for path in paths)


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "outcome.json"])
def test_a_corrupt_file_of_a_finished_run_is_one_line(lmcore, finished, name):
    path = finished / RESULT / name
    path.write_bytes(path.read_bytes()[:-9])
    status, _, errors = lmcore(*SMALL, *PLAIN)
    assert status == 2
    assert is_one_line(errors, path, "damaged")


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
def test_a_corrupt_file_of_an_unfinished_run_is_one_line(lmcore, begun, name):
    path = begun / RUN / name
    path.write_bytes(path.read_bytes()[:-9])
    status, _, errors = lmcore(*SMALL, *PLAIN)
    assert status == 2
    assert is_one_line(errors, path, "damaged")


def test_a_corrupt_checkpoint_is_one_line_that_says_how_to_continue(lmcore, begun):
    path = max((begun / RUN / "checkpoints").iterdir())
    path.write_bytes(path.read_bytes()[:-9])
    status, _, errors = lmcore(*SMALL, *PLAIN)
    assert status == 2
    assert is_one_line(errors, path, "delete it")


def test_a_changed_config_of_a_finished_run_is_one_line(lmcore, finished):
    stored = read_json(finished / RESULT / "config.json")
    stored["config"]["train"]["optimizer"]["lr"] = 99.0
    write_json(finished / RESULT / "config.json", stored)
    status, _, errors = lmcore(*SMALL, *PLAIN)
    assert status == 2
    assert is_one_line(errors, "config.json", "changed after its run")


def test_a_finished_run_is_named_and_not_made_again(lmcore, finished):
    status, out, errors = lmcore(*SMALL, *PLAIN)
    assert (status, out.strip(), errors) == (0, str(finished / RESULT), "")


def test_a_scratch_that_cannot_be_written_is_one_line(lmcore, begun):
    (begun / "scratch").write_text("a file in the place of a folder")
    status, _, errors = lmcore(*SMALL, *PLAIN, "--scratch", begun / "scratch")
    assert status == 2
    assert is_one_line(errors, begun / "scratch")


def test_a_full_disk_is_one_line_and_the_corpus_is_not_left_half_written(lmcore, tmp_path):
    with small_disk(20_000):
        status, _, errors = lmcore(*SMALL, *PLAIN)
    assert status == 2
    assert is_one_line(errors, "cannot be written", tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("corpus.json"))


def test_a_full_disk_at_a_checkpoint_is_one_line_and_a_later_call_resumes(lmcore, begun, smoke_run):
    shutil.rmtree(begun / RUN)
    every_step = ("--runtime.checkpoint-every-s", "0")
    with small_disk(100_000):
        status, _, errors = lmcore(*SMALL, *PLAIN, *every_step)
    assert status == 2
    assert is_one_line(errors, "step0000001.safetensors cannot be written")
    assert not list((begun / RUN).rglob("*.part"))


@pytest.mark.parametrize("operation", ["+", "-", "*", "/"])
def test_the_command_that_a_question_without_a_model_names_lets_it_be_asked(lmcore, operation):
    question = f"3 {operation} 4 mod 5"
    status, _, errors = lmcore("ask", question)
    assert status == 2
    assert is_one_line(errors, f"no model has learned {operation} modulo 5")
    command = shlex.split(errors[errors.index("python -m lmcore") :])
    assert errors.endswith(f"{shlex.join(command)}\n")  # a shell reads it as it stands
    assert lmcore(*command[3:], "--steps", "3")[0] == 0
    status, out, _ = lmcore("ask", question)
    assert (status, len(out.splitlines())) == (0, 5)
    assert out.count("right") == 1


def test_a_live_run_shows_what_is_learned_and_what_was_never_seen_at_every_evaluation(lmcore):
    status, out, _ = lmcore("live", "--steps", "3", "--p", "7")
    shown = [line.split()[1] for line in out.splitlines() if line.startswith("step")]
    assert (status, shown) == (0, ["0", "1", "3"])
    assert out.count("never seen") == 3


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("live", "--operation", "/", "--p", "10"), ("p 10 is not prime", "take 7 or 11")),
        (("live", "--operation", "^"), ("'^'", "take one or more of +, -, *, /")),
        (("live", "--steps", "0"), ("steps must be above 0",)),
        (("ask", "5 / 0 mod 7"), ("5 / 0 has no answer",)),
        (("ask", "9 + 1 mod 7"), ("9 is none of the numbers", "0 to 6")),
        (("ask", "what is love"), ("is not a question", "5 / 7 mod 97")),
    ],
)
def test_a_table_or_question_that_cannot_be_is_one_line(lmcore, arguments, names):
    status, _, errors = lmcore(*arguments)
    assert status == 2
    assert is_one_line(errors, *names)


def test_help_names_the_commands():
    done = subprocess.run(
        [sys.executable, "-m", "lmcore", "--help"], capture_output=True, text=True, check=True
    )
    assert all(word in done.stdout for word in ("run", "studies"))


def test_control_c_is_one_line_and_says_that_the_same_command_resumes(
    smoke_run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "myst.yml").touch()
    shutil.copytree(smoke_run[0] / ".smoke/.cache/corpus", tmp_path / ".smoke/.cache/corpus")
    words = [sys.executable, "-m", "lmcore", *SMALL, *PLAIN]
    metrics, results = tmp_path / RUN / "metrics.jsonl", tmp_path / ".smoke/results"
    status, errors = stopped(words, metrics, 0, signal.SIGINT, results)
    assert status == 130
    assert is_one_line(errors, "stopped", "resumes")


def test_control_c_while_the_package_is_loaded_is_one_line_too():
    command = [sys.executable, "-X", "importtime", "-m", "lmcore", "studies"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert any(line.endswith(" torch.version\n") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if "import time:" not in line] == [
        "lmcore: stopped"
    ]


def test_only_notebooks_need_what_notebooks_need(lmcore):
    """Without an extra the command line works, and says which one a command wants."""
    code = (
        "import sys; sys.argv = ['lmcore', *sys.argv[1:]];"
        "extras = ['jupytext', 'nbclient', 'datasets', 'tokenizers', 'IPython'];"
        "sys.modules |= dict.fromkeys(extras);"
        "from lmcore.cli import main; sys.exit(main())"
    )
    done = [
        subprocess.run([sys.executable, "-c", code, command], capture_output=True, text=True)
        for command in ("studies", "notebooks")
    ]
    assert (done[0].returncode, done[0].stderr) == (0, "")
    assert done[1].returncode == 2
    assert done[1].stderr == (
        "lmcore: jupytext is missing, and notebooks need it: pip install 'lmcore[notebooks]'\n"
    )

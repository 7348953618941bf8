"""Two processes that write to one folder at once."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lmcore.experiments.experiment import Experiment
from lmcore.experiments.run_folder import load_run
from lmcore.locks import LockedError, locked

ROOT = Path(__file__).resolve().parents[2]

TRAIN = """
from lmcore.experiments.experiment import smoke
from lmcore.experiments.runner import run_or_load
from lmcore.studies.baseline import experiments
from lmcore.studies.baseline.probes import probe
from lmcore.training.runtime import Runtime

def ready(*arguments):
    print("trained", flush=True)
    return probe(*arguments)

runtime = Runtime(device="cpu", precision="float32", compile="no")
small = smoke(experiments.BASELINE)
start()
try:
    run_or_load(small, ready, runtime=runtime, progress=False)
except ValueError as error:
    print("refused:", error)
else:
    print("finished")
"""

PREPARE = """
import sys
from pathlib import Path
from lmcore.tasks import prepared_text, titles
from lmcore.tasks.titles import TitlesConfig
from lmcore.tokenizer.byte_bpe import Tokenizer

train = Tokenizer.train
def counted(*arguments, **options):
    print("trained", flush=True)
    return train(*arguments, **options)
Tokenizer.train = counted

start()
if sys.argv[1] == "titles":
    config = TitlesConfig(source="generated", n_titles=800, n_test_titles=80, vocab_size=320)
    print("finished", config.prepare(Path("cache")).tokenizer.fingerprint)
else:
    config = prepared_text.PrepareConfig(vocab_size=300)
    done = prepared_text.prepare("text.txt", "out", config)
    print("finished", done.tokenizer.fingerprint)
"""

HOLD = """
import time
from pathlib import Path
from lmcore.locks import locked
with locked(Path("run")):
    start()
    time.sleep(60)
"""


def begin(program, folder, *arguments):
    """Start program in folder; it waits for a line before it does its work."""
    start = "def start():\n    print('ready', flush=True)\n    input()\n"
    return subprocess.Popen(
        [sys.executable, "-c", start + textwrap.dedent(program), *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def at_once(program, folder, *arguments):
    """Return what two processes print that begin their work at the same time."""
    processes = [begin(program, folder, *arguments) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    out = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    return out


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path / "run"."""
    process = begin(HOLD, tmp_path)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("attempt", range(5))
def test_of_two_processes_that_start_one_experiment_exactly_one_trains(
    smoke_run, tmp_path, attempt
):
    workspace, expected = smoke_run
    (tmp_path / "myst.yml").touch()
    out = at_once(TRAIN, tmp_path)
    assert "".join(out).count("trained") == 1
    (other,) = (text for text in out if "trained" not in text)
    refusal = r"refused: .* is being written by (process \d+ on \S+ since|another process).*\n"
    assert other == "finished\n" or re.fullmatch(refusal, other)
    run = load_run(tmp_path / expected.folder.relative_to(workspace), Experiment)
    assert [r["step"] for r in run.records] == [r["step"] for r in expected.records]
    assert [r.get("loss") for r in run.records] == [r.get("loss") for r in expected.records]


@pytest.mark.parametrize("what", ["titles", "text"])
def test_of_two_processes_that_prepare_one_folder_the_second_reads_what_the_first_wrote(
    tmp_path, what
):
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 3000)
    first, second = at_once(PREPARE, tmp_path, what)
    assert (first + second).count("trained") == 1
    assert first.splitlines()[-1] == second.splitlines()[-1]


def test_the_error_says_which_process_writes_to_the_folder(holder, tmp_path):
    message = rf"run is being written by process {holder.pid} on \S+ since 2\S+: wait"
    with pytest.raises(LockedError, match=message), locked(tmp_path / "run"):
        pass


def test_the_lock_of_a_killed_process_is_free(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "run"):
        assert (tmp_path / ".run.holder.json").exists()
    assert not (tmp_path / ".run.holder.json").exists()

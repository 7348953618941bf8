"""What the whole suite shares: one thread, reproducible search for examples, one small run."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

# Read by the programs that tests start: one thread, and the modules that tests share.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["PYTHONPATH"] = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"

import jaxtyping
import pytest
import torch
from hypothesis import HealthCheck, settings

from lmcore.data import grammar
from lmcore.data.sources import Reading
from lmcore.experiments.experiment import smoke
from lmcore.experiments.run_folder import load_run
from lmcore.experiments.runner import run_or_load
from lmcore.studies import all_studies
from lmcore.studies.baseline import experiments as baseline
from lmcore.studies.baseline.probes import probe
from lmcore.tasks.prepared_text import PrepareConfig
from lmcore.tasks.prepared_text import prepare as prepare_text
from lmcore.tasks.titles import TitlesConfig, prepare
from lmcore.training.runtime import Runtime

ROOT = Path(__file__).parents[1]
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
settings.register_profile(
    "suite",
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.register_profile(
    "many", settings.get_profile("suite"), derandomize=False, max_examples=2_000
)
settings.load_profile("suite")


@pytest.fixture(scope="module")
def no_type_checks():
    """Switch off the checks of types that run in tests alone, for tests of what users see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def pytest_addoption(parser):
    parser.addoption(
        "--faults",
        choices=["few", "full"],
        default="few",
        help="a few file operations and places of damage in tests/faults, or all of them",
    )


@pytest.fixture(scope="session")
def is_full(request):
    """Whether tests of faults try all of them."""
    return request.config.getoption("--faults") == "full"


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A small prepared corpus of generated titles."""
    config = TitlesConfig(source="generated", n_titles=800, n_test_titles=80, vocab_size=320)
    return prepare(config, tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def text_data(tmp_path_factory):
    """A small prepared text, a document a line."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("\n".join(grammar.titles(600, seed=0)))
    config = PrepareConfig(vocab_size=300, reading=Reading(one_document_per="line"))
    return prepare_text(folder / "text.txt", folder / "data", config)


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory):
    """The workspace of a finished smoke run of the baseline, and the run."""
    workspace = tmp_path_factory.mktemp("workspace")
    (workspace / "myst.yml").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace)
        run = run_or_load(
            smoke(baseline.BASELINE),
            probe,
            runtime=Runtime(device="cpu", precision="float32", compile="no"),
            progress=False,
        )
    return workspace, run


@pytest.fixture(scope="session")
def committed_runs():
    """All committed runs, in the order of their folders; tests must not change them."""
    configs = (ROOT / "results").glob("*/*/*/config.json")
    studies = all_studies()
    return [load_run(path.parent, studies[path.parts[-4]].config_type) for path in sorted(configs)]


@pytest.fixture
def make():
    """Return make.py as a module."""
    path = Path(__file__).resolve().parents[1] / "make.py"
    spec = importlib.util.spec_from_file_location("make", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def node():
    """A function that runs JavaScript in the folder of the site's widgets.

    The code sees its argument as `given`, and what it hands to `answer` is returned.
    """
    path = shutil.which("node")
    if path is None:
        pytest.skip("no node on PATH to run the site's JavaScript with")
    before = """
import { readFileSync as readInput } from "node:fs";
const given = JSON.parse(readInput(0, "utf8"));
const answer = (value) => process.stdout.write(JSON.stringify(value));
"""

    def run(code, given=None):
        done = subprocess.run(
            [path, "--input-type=module", "-e", before + code],
            cwd=ROOT / "docs" / "widgets",
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run

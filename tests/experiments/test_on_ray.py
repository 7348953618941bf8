"""A batch on a real local Ray cluster, with a worker that is killed in the middle."""

import os
import warnings

import pytest
from batch_probes import failing_probe_of_seed_2, killed_once
from made import PLAIN

from lmcore.config import with_fields
from lmcore.experiments.batch import run_batch
from lmcore.experiments.metrics_file import read_metrics
from lmcore.experiments.on_ray import run_on_ray
from lmcore.studies.named.experiments import BASELINE, small

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own processes and sockets

ATTEMPTS = 4
TINY = with_fields(
    small(BASELINE), {"train.steps": 4, "model.n_layers": 1, "task.scored_bytes": 500}
)


NICENESS = {"RAY_worker_niceness": "0"}
"""At Ray's 15, workers starve on a busy machine."""


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two worker processes on this machine.

    A cluster that has not come up after Ray's 30 seconds, as on a busy machine, is started again.
    """
    os.environ.update(NICENESS)
    with warnings.catch_warnings(action="ignore"):
        for attempt in range(ATTEMPTS):
            try:
                ray.init(num_cpus=2, include_dashboard=False, object_store_memory=10**8)
                break
            except Exception:
                ray.shutdown()
                if attempt == ATTEMPTS - 1:
                    raise
        yield
        ray.shutdown()


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """An empty workspace."""
    (tmp_path / "myst.yml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def seeds(*numbers):
    return [with_fields(TINY, seed=number) for number in numbers]


def numbers(run):
    """Return a run's recorded numbers without their times."""
    records = read_metrics(run.folder / "metrics.jsonl")
    return [{k: v for k, v in record.items() if k != "elapsed_s"} for record in records]


def test_a_killed_worker_s_experiment_is_taken_up_from_its_checkpoint(cluster, workspace):
    result = run_on_ray(seeds(1, 2, 3), killed_once, runtime=PLAIN)
    assert [outcome.state for outcome in result.outcomes] == ["finished"] * 3
    sessions = [run.environment["sessions"] for run in result.runs]
    assert sorted(map(len, sessions)) == [1, 1, 2]
    assert all(run.records[-1]["step"] == 4 for run in result.runs)
    before = [run.folder.stat().st_mtime_ns for run in result.runs]
    again = run_on_ray(seeds(1, 2, 3), killed_once, runtime=PLAIN)
    assert [run.folder.stat().st_mtime_ns for run in again.runs] == before


def test_a_cluster_gives_the_numbers_of_one_process_and_goes_on_after_failures(
    cluster, workspace, monkeypatch
):
    result = run_on_ray(seeds(1, 2), failing_probe_of_seed_2, runtime=PLAIN)
    assert [outcome.state for outcome in result.outcomes] == ["finished", "failed"]
    assert "named/baseline/seed2 failed: this fails" in result.summary()
    (workspace / "other").mkdir()
    (workspace / "other/myst.yml").touch()
    monkeypatch.chdir(workspace / "other")
    alone = run_batch(seeds(1), failing_probe_of_seed_2, runtime=PLAIN)
    assert numbers(alone.runs[0]) == numbers(result.runs[0])

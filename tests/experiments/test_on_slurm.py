"""A batch as jobs of a queue: in processes of submitit, and on a real Slurm where there is one."""

import shutil
import subprocess
import sys

import pytest
from batch_probes import always_killed, failing_probe_of_seed_2, killed_once
from made import PLAIN

from lmcore.config import with_fields
from lmcore.experiments import on_slurm
from lmcore.experiments.batch import run_batch
from lmcore.experiments.metrics_file import read_metrics
from lmcore.experiments.on_slurm import run_on_slurm
from lmcore.studies.named.experiments import BASELINE, small

pytest.importorskip("submitit")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork")

TINY = with_fields(
    small(BASELINE), {"train.steps": 4, "model.n_layers": 1, "task.scored_bytes": 500}
)


def has_slurm():
    """Return whether a Slurm cluster answers."""
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo"], capture_output=True).returncode == 0


needs_slurm = pytest.mark.skipif(not has_slurm(), reason="no Slurm cluster here")


@pytest.fixture(params=["local", pytest.param("slurm", marks=needs_slurm)])
def cluster(request):
    """The queue: processes on this machine, or Slurm."""
    return request.param


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """An empty workspace."""
    (tmp_path / "myst.yml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(on_slurm.POLL_S, "slurm", 0.5)
    return tmp_path


def seeds(*numbers):
    return [with_fields(TINY, seed=number) for number in numbers]


def numbers(run):
    """Return a run's recorded numbers without their times."""
    records = read_metrics(run.folder / "metrics.jsonl")
    return [{k: v for k, v in record.items() if k != "elapsed_s"} for record in records]


def test_a_lost_job_is_submitted_again_and_its_experiment_resumes(cluster):
    lines = []
    result = run_on_slurm(
        seeds(1, 2), killed_once, cluster=cluster, runtime=PLAIN, show=lines.append
    )
    assert [outcome.state for outcome in result.outcomes] == ["finished"] * 2
    assert sorted(len(run.environment["sessions"]) for run in result.runs) == [1, 2]
    assert len(lines) == 2
    before = [run.folder.stat().st_mtime_ns for run in result.runs]
    again = run_on_slurm(seeds(1, 2), killed_once, cluster=cluster, runtime=PLAIN)
    assert [run.folder.stat().st_mtime_ns for run in again.runs] == before


def test_jobs_give_the_numbers_of_one_process_and_failures_are_named(
    cluster, workspace, monkeypatch
):
    result = run_on_slurm(seeds(1, 2), failing_probe_of_seed_2, cluster=cluster, runtime=PLAIN)
    assert [outcome.state for outcome in result.outcomes] == ["finished", "failed"]
    assert "named/baseline/seed2 failed: this fails" in result.summary()
    (workspace / "other").mkdir()
    (workspace / "other/myst.yml").touch()
    monkeypatch.chdir(workspace / "other")
    alone = run_batch(seeds(1), failing_probe_of_seed_2, runtime=PLAIN)
    assert numbers(alone.runs[0]) == numbers(result.runs[0])


def test_a_job_that_is_lost_each_time_fails_with_its_log(monkeypatch):
    monkeypatch.setattr(on_slurm, "RETRIES", 1)
    result = run_on_slurm(seeds(1), always_killed, cluster="local", runtime=PLAIN)
    [outcome] = result.outcomes
    assert outcome.state == "failed"
    assert "its job was lost 2 times: see" in outcome.reason


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="there is no Slurm here: sbatch was not found"):
        run_on_slurm(seeds(1), killed_once)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"pip install 'lmcore\[slurm\]'"):
        run_on_slurm(seeds(1), killed_once)

"""Several processes under torchrun do what one does; one writes, and FSDP splits the weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import losses

from lmcore.training import parallel

SCRIPT = Path(__file__).with_name("processes.py")


def two_processes(folder, n_records):
    """Run the script in two processes; return what each of them wrote."""
    folder.mkdir(exist_ok=True)
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*start, SCRIPT, folder, str(n_records)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads((folder / f"process{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What two processes say of a whole run, the folder they shared, and what one says."""
    folder = tmp_path_factory.mktemp("two")
    return two_processes(folder, 99), folder, losses(tmp_path_factory.mktemp("one"), 99)


def close(found, expected):
    """Return whether two accounts of runs agree up to the rounding of another order of sums."""
    numbers = [
        [(r["step"], r["loss"] or 0.0, r["norm"] or 0.0) for r in told["records"]]
        for told in (found, expected)
    ]
    return torch.allclose(*map(torch.tensor, numbers), rtol=1e-5, atol=1e-6) and torch.allclose(
        *(torch.tensor(told["weights"]) for told in (found, expected)), rtol=1e-5, atol=1e-5
    )


def test_two_processes_have_the_losses_of_one(both):
    (first, _), _, alone = both
    assert len(first["records"]) == 5
    assert close(first, alone)


def test_all_processes_end_with_the_same_weights(both):
    (first, second), _, _ = both
    assert first["weights"] == second["weights"]


def test_a_run_of_two_processes_is_taken_up_by_one(tmp_path, both):
    _, _, alone = both
    two_processes(tmp_path, 3)
    rest = losses(tmp_path / "checkpoints", 99)
    expected = alone | {"records": alone["records"][2:]}
    assert close(rest, expected)


def test_a_run_of_one_process_is_taken_up_by_two(tmp_path, both):
    _, _, alone = both
    losses(tmp_path / "checkpoints", 3)
    rest, _ = two_processes(tmp_path, 99)
    assert close(rest, alone | {"records": alone["records"][2:]})


def test_a_model_that_fsdp_shards_has_the_losses_of_a_whole_one():
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = Path(__file__).with_name("sharded.py")
    done = subprocess.run([*start, script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    (whole, n_whole), (sharded, n_sharded) = told["whole"], told["sharded"]
    assert whole == pytest.approx(sharded, rel=1e-5)
    assert n_sharded == pytest.approx(n_whole / 2, rel=0.05)


def test_alone_a_process_is_the_first_of_one():
    with parallel.group():
        assert (parallel.rank(), parallel.world()) == (0, 1)


def test_alone_there_is_nobody_to_ask():
    assert (parallel.anywhere(True), parallel.anywhere(False)) == (True, False)
    assert parallel.mean(torch.tensor(3.0)) == 3.0


def test_only_the_first_process_writes_the_run(tmp_path):
    (tmp_path / "myst.yml").touch()
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [
            *start, "-m", "lmcore", "run", "baseline", "--small", "--only", "sgd",
            "--seeds", "1337", "--runtime.device", "cpu", "--runtime.precision", "float32",
            "--runtime.compile", "no",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    run = tmp_path / ".smoke/results/baseline/sgd/seed1337"
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(len(steps)))
    assert done.stdout.split() == [str(run)]
    assert json.loads((run / "environment.json").read_text())["sessions"][0]["processes"] == 2

"""Runs in folders, finished or not."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from lmcore.config import from_dict
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.run_folder import Run, check_schema, load_run, read_metrics, with_scores
from lmcore.experiments.text_config import TextRun
from lmcore.files import read_json


def find_runs(folders: Iterable[str | Path], kinds: Mapping[str, type] | None = None) -> list[Run]:
    """Return the runs in and below folders, in the order of their folders.

    A run that is not finished has an empty outcome and the records so far. kinds gives the config
    class of each study whose configs are not an `Experiment`.

    Raises:
        ValueError: a folder is not there or holds no run, or a run is damaged.
    """
    out: dict[Path, Run] = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder: name a run or a folder of runs")
        below = [path.parent for path in sorted(folder.rglob("metrics.jsonl"))]
        if not below:
            raise ValueError(f"{folder} holds no run")
        out |= {path.resolve(): read_run(path, kinds or {}) for path in below}
    return list(out.values())


def read_run(folder: Path, kinds: Mapping[str, type]) -> Run:
    """Return the run in folder, whatever its kind, finished or not.

    Raises:
        ValueError: a file is missing or damaged, or another version of lmcore wrote it.
    """
    stored = read_json(folder / "config.json")
    if not isinstance(stored, dict) or not isinstance(stored.get("config"), dict):
        raise ValueError(f"{folder / 'config.json'} is not a config")
    config = stored["config"]
    kind = kinds.get(config["study"], Experiment) if "study" in config else TextRun
    if (folder / "outcome.json").exists():
        return load_run(folder, kind)
    check_schema(folder, stored.get("schema", 1))
    records = [with_scores(record) for record in read_metrics(folder / "metrics.jsonl")]
    path = folder / "environment.json"
    environment = read_json(path) if path.exists() else {}
    return Run(folder, from_dict(kind, config), records, environment, {})

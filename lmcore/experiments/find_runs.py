"""Runs in folders, finished or not."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from lmcore.config import from_dict
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.metrics_file import Records
from lmcore.experiments.run_folder import Run, check_schema, load_run
from lmcore.experiments.text_config import TextRun
from lmcore.files import read_json

KindOf = Callable[[str], type]
"""Returns the config class of the study that has this name."""


def find_runs(folders: Iterable[str | Path], kind_of: KindOf | None = None) -> list[Run]:
    """Return the runs in and below folders, in the order of their folders.

    A run that is not finished has an empty outcome and the records so far. kind_of is asked for the
    class of configs that are neither an `Experiment` nor a `TextRun`.

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
        out |= {path.resolve(): read_run(path, kind_of) for path in below}
    return list(out.values())


def read_run(folder: Path, kind_of: KindOf | None = None) -> Run:
    """Return the run in folder, whatever its kind, finished or not.

    Raises:
        ValueError: a file is missing or damaged, or another version of lmcore wrote it.
    """
    stored = read_json(folder / "config.json")
    if not isinstance(stored, dict) or not isinstance(stored.get("config"), dict):
        raise ValueError(f"{folder / 'config.json'} is not a config")
    kind = _kind(stored["config"], kind_of)
    if (folder / "outcome.json").exists():
        return load_run(folder, kind)
    check_schema(folder, stored.get("schema", 1))
    path = folder / "environment.json"
    environment = read_json(path) if path.exists() else {}
    records = Records(folder / "metrics.jsonl", None)
    return Run(folder, from_dict(kind, stored["config"]), records, environment, {})


def _kind(config: dict[str, Any], kind_of: KindOf | None) -> type:
    for kind in (Experiment, TextRun):
        if config.keys() == {field.name for field in fields(kind)}:
            return kind
    return Experiment if kind_of is None else kind_of(config.get("study", ""))

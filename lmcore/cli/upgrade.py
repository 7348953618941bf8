"""Upgrade run folders of an earlier version."""

from pathlib import Path
from typing import Annotated

import tyro

from lmcore.experiments.schema import upgrade_folder
from lmcore.files import read_json
from lmcore.studies import study_called


def upgrade(folder: Annotated[Path, tyro.conf.Positional]) -> None:
    """Rewrite the run folders of an earlier version for this one. Measured numbers stay.

    Args:
        folder: A run folder, or a folder of run folders such as results.
    """
    paths = sorted(folder.rglob("config.json"))
    if not paths:
        raise ValueError(f"there is no run folder in {folder}")
    upgraded = [upgrade_folder(path.parent, config_type_of(path)) for path in paths]
    print(f"{sum(upgraded)} of {len(upgraded)} run folders upgraded")


def config_type_of(path: Path) -> type:
    """Return what the config.json at path holds, by the study that it names."""
    return study_called(read_json(path)["config"]["study"]).config_type

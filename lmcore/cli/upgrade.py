"""lmcore upgrade: run folders of an earlier version, rewritten for this one."""

from pathlib import Path
from typing import Annotated

import tyro

from lmcore.experiments import schema
from lmcore.studies import all_studies


def run(folder: Annotated[Path, tyro.conf.Positional]) -> None:
    """Rewrite the run folders of an earlier version for this one. Measured numbers stay.

    Args:
        folder: A run folder, or a folder of run folders such as results.
    """
    kinds = {name: study.config_type for name, study in all_studies().items()}
    print(f"{schema.upgrade(folder, kinds)} run folders upgraded")

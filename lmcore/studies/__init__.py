"""Studies: a package for each question, with its experiments and what is read from their runs."""

import importlib
import pkgutil
from collections.abc import Sequence

from lmcore.experiments.experiment import Experiment, RunConfig
from lmcore.experiments.study import Study


def all_studies() -> dict[str, Study]:
    """Return the studies by name: the `STUDY` of every package here that defines one."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    packages = [importlib.import_module(f"{__name__}.{name}") for name in names]
    studies = [vars(package).get("STUDY") for package in packages]
    return {study.name: study for study in studies if isinstance(study, Study)}


def config_type_of(name: str) -> type[RunConfig]:
    """Return the class of the configs of the study called name, importing no other study.

    It is `Experiment` if there is no such study.
    """
    if name not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return Experiment
    study = vars(importlib.import_module(f"{__name__}.{name}")).get("STUDY")
    return study.config_type if isinstance(study, Study) else Experiment


def study_called(name: str, others: Sequence[str] = ()) -> Study:
    """Return the study called name.

    Raises:
        ValueError: there is none; the message lists those that exist, and the other names that the
            caller takes.
    """
    studies = all_studies()
    if name not in studies:
        names = ", ".join([*studies, *others])
        raise ValueError(f"there is no study {name!r}; choose one of: {names}")
    return studies[name]

"""Studies: a package for each question, with its experiments and what is read from their runs."""

import importlib
import pkgutil

from lmcore.experiments.study import Study


def all_studies() -> dict[str, Study]:
    """Return the studies by name: the `STUDY` of every package here that defines one."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    packages = [importlib.import_module(f"{__name__}.{name}") for name in names]
    studies = [vars(package).get("STUDY") for package in packages]
    return {study.name: study for study in studies if isinstance(study, Study)}


def study_called(name: str) -> Study:
    """Return the study called name.

    Raises:
        ValueError: there is none; the message lists those that exist.
    """
    studies = all_studies()
    if name not in studies:
        raise ValueError(f"there is no study {name!r}; choose one of: {', '.join(studies)}")
    return studies[name]

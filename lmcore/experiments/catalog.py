"""Experiments by name: those of a package, and a user's own from a Python file or a TOML file."""

import difflib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from lmcore.experiments.experiment import Experiment
from lmcore.experiments.overrides import changed_experiment, table_changes
from lmcore.experiments.study import Study
from lmcore.experiments.text_config import read_toml


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """Named experiments with their descriptions, groups of them, and the study that they are of."""

    experiments: Mapping[str, Experiment]
    """The experiments by name."""
    study: Study
    """What is kept of their models, and the figures of a comparison."""
    descriptions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What an experiment is, in one line, by its name."""
    groups: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))
    """Names by the name of their group."""

    def named(self, names: Iterable[str]) -> list[Experiment]:
        """Return the experiments of these names.

        Raises:
            ValueError: there is no such experiment; the message names the nearest.
        """
        return [self.experiments[known("experiment", name, self.experiments)] for name in names]

    def group(self, name: str) -> list[Experiment]:
        """Return the experiments of a group.

        Raises:
            ValueError: there is no such group; the message names the nearest.
        """
        return self.named(self.groups[known("group", name, self.groups)])


def known(kind: str, name: str, names: Iterable[str]) -> str:
    """Return name if it is among names.

    Raises:
        ValueError: it is not; the message names the nearest, or else all.
    """
    names = list(names)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise ValueError(f"there is no {kind} {name!r}: {hint}")


def catalog_from(path: Path, base: Catalog) -> Catalog:
    """Return the experiments in a user's file: TOML, or Python, by the file's ending.

    A TOML file has a table for each experiment, with the fields that it changes of the experiment
    that `base` names (`baseline` without it). A Python file defines STUDY, or EXPERIMENTS, a list
    of experiments; it is run.

    Raises:
        ValueError: the file is missing or wrong; the message names it and, for Python, its line.
    """
    if path.suffix == ".toml":
        return _from_toml(path, base)
    module = module_at(path)
    study = getattr(module, "STUDY", None)
    if isinstance(study, Study):
        experiments = study.experiments()
    else:
        experiments, study = getattr(module, "EXPERIMENTS", None), base.study
        if not isinstance(experiments, list | tuple):
            raise ValueError(
                f"{path} defines neither STUDY, a Study, nor EXPERIMENTS, a list of experiments"
            )
    wrong = [e for e in experiments if not isinstance(e, Experiment)]
    if wrong:
        raise ValueError(f"{path}: {wrong[0]!r:.60} is no Experiment")
    return _of([e for e in experiments if isinstance(e, Experiment)], study)


def _of(
    experiments: Sequence[Any], study: Study, descriptions: Mapping[str, str] | None = None
) -> Catalog:
    """Return the catalog of experiments, one seed of each name; its group `all` has every one."""
    by_name = {experiment.name: experiment for experiment in reversed(experiments)}
    names = tuple(reversed(by_name))
    return Catalog(
        experiments={name: by_name[name] for name in names},
        study=study,
        descriptions=descriptions or {},
        groups={"all": names},
    )


def _from_toml(path: Path, base: Catalog) -> Catalog:
    experiments, descriptions = [], {}
    for name, table in read_toml(path).items():
        if not isinstance(table, dict):
            raise ValueError(f"{path}: {name} is no table: write [NAME] above its fields")
        try:
            start = base.named([table.pop("base", "baseline")])[0]
            descriptions[name] = str(table.pop("description", f"{start.name} with changes"))
            changed = changed_experiment(start, table_changes(table, start))
            experiments.append(replace(changed, name=name))
        except ValueError as error:
            raise ValueError(f"{path}, [{name}]: {error}") from None
    return _of(experiments, base.study, descriptions)


def module_at(path: Path) -> ModuleType:
    """Return the Python file at path as a module that worker processes can import too.

    Raises:
        ValueError: it is missing or an error is raised in it; the message has the file's line.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not a file that is there: name a .py or .toml file")
    path = path.resolve()
    there = None if "." in path.stem else importlib.util.find_spec(path.stem)
    if "." in path.stem or (there is not None and there.origin != str(path)):
        raise ValueError(f"{path.name} cannot be imported by its name: rename it")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # workers, which get this path, import it by its name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None, "a .py file has a loader"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise ValueError(f"{path}, {_place(error, path)}") from None
    return module


def _place(error: Exception, path: Path) -> str:
    """Return the last line of the file at path that an error came through, and the error."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"line {error.lineno}: {error.msg}: {(error.text or '').strip()}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    place = f"line {frames[-1].lineno}: {frames[-1].line}: " if frames else ""
    return f"{place}{type(error).__name__}: {error}"

"""The command line: a thin cover over the functions that the notebooks call."""

import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import tyro

from lmcore import studies
from lmcore.experiment import Experiment, cost, load, run_or_load, smoke
from lmcore.train import DivergedError, Runtime

STUDIES = sorted(module.name for module in pkgutil.iter_modules(studies.__path__))
Study = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]


def study_module(name: str) -> ModuleType:
    """Return the study called name.

    Raises:
        ValueError: there is none; the message names those there are.
    """
    if name not in STUDIES:
        raise ValueError(f"there is no study {name!r}; there are: {', '.join(STUDIES)}")
    return importlib.import_module(f"lmcore.studies.{name}")


def experiments(study: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Return the experiments of study with these seeds, or with each of its own.

    Raises:
        ValueError: the study has no such seed.
    """
    out = study_module(study).experiments()
    known = {experiment.seed for experiment in out}
    if unknown := sorted(set(seeds) - known):
        raise ValueError(f"{study} has no seed {unknown[0]}; it has {sorted(known)}")
    return [experiment for experiment in out if not seeds or experiment.seed in seeds]


def run(
    study: Study,
    small: bool = False,
    seeds: tuple[int, ...] = (),
    data: Path | None = None,
    scratch: Path | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 - tyro reads its fields as options
) -> None:
    """Train a study's experiments, or load those that are finished; an interrupted run goes on.

    Args:
        study: Which study, by the name of its module in lmcore/studies; all for every one.
        small: Take the version of seconds on generated titles.
        seeds: Only these seeds; all of the study's when left out.
        data: Local titles, one a line, or a folder that holds headlines.txt (or LMCORE_DATA).
        scratch: Where unfinished runs and their checkpoints stand.
        runtime: Device, precision and compilation; settled by what the machine has.
    """
    for name in STUDIES if study == "all" else [study]:
        module = study_module(name)
        chosen = experiments(name, seeds)
        if small:
            chosen = [smoke(experiment) for experiment in chosen]
        waiting = [experiment for experiment in chosen if load(experiment) is None]
        if waiting:
            print(cost(waiting, runtime), file=sys.stderr)
        for one in chosen:
            done = run_or_load(one, module.probe, runtime=runtime, data=data, scratch=scratch)
            print(done.folder)


def list_studies() -> None:
    """List the studies and the question of each."""
    for name in STUDIES:
        print(f"{name:20} {study_module(name).__doc__.splitlines()[0]}")


def main() -> int:
    """Run the command line; a user's mistake is one line, not a traceback."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"run": run, "studies": list_studies}, prog="lmcore", description=__doc__
        )
    except (ValueError, DivergedError) as error:
        print(f"lmcore: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"lmcore: {error.strerror or error}{where}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lmcore: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

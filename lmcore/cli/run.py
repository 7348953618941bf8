"""lmcore run: the experiments of a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from lmcore.cli.arguments import StudyName
from lmcore.experiments.experiment import RunConfig
from lmcore.experiments.study import Study
from lmcore.studies import all_studies, study_called
from lmcore.training import parallel
from lmcore.training.runtime import Runtime, keep_large_blocks

Config = TypeVar("Config", bound=RunConfig)


def run(
    study: StudyName,
    small: bool = False,
    only: str | None = None,
    seeds: tuple[int, ...] = (),
    data: Path | None = None,
    scratch: Path | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 - tyro reads its fields as options
) -> None:
    """Run a study's experiments. Finished runs are loaded, interrupted runs resume.

    Args:
        study: The study's name, or all for every published study.
        small: Run the small version on generated data, which takes seconds; one seed of each
            experiment unless seeds are given.
        only: Run only the experiment of this name.
        seeds: Run only these seeds; all seeds of the study if none are given.
        data: A file of titles, one a line, or a folder of texts with headlines.txt in it
            (or set LMCORE_DATA).
        scratch: The folder for unfinished runs and their checkpoints.
        runtime: Device, precision and compilation; chosen for this machine by default.
    """
    keep_large_blocks()
    published = [candidate for candidate in all_studies().values() if candidate.is_published]
    for current in published if study == "all" else [study_called(study, others=("all",))]:
        chosen = chosen_experiments(current, only, seeds)
        if small:
            chosen = [current.smoke(e) for e in (chosen if seeds else one_seed_of_each(chosen))]
        with parallel.group():
            runs = current.run(chosen, runtime=runtime, data=data, scratch=scratch)
            if parallel.rank() == 0:
                print(*(finished.folder for finished in runs), sep="\n")


def chosen_experiments(
    study: Study, only: str | None = None, seeds: Sequence[int] = ()
) -> list[RunConfig]:
    """Return the study's experiments of this name and these seeds; None and () mean all.

    Raises:
        ValueError: the study has no such experiment; the message lists those it has.
    """
    planned = study.experiments()
    chosen = [e for e in planned if only in (None, e.name) and (not seeds or e.seed in seeds)]
    if not chosen or set(seeds) - {e.seed for e in planned}:
        asked = f"{only or 'experiment'} with seed {', '.join(map(str, seeds)) or 'of any kind'}"
        names = ", ".join(f"{e.name} {e.seed}" for e in planned)
        raise ValueError(f"{study.name} has no {asked}; it has: {names}")
    return chosen


def one_seed_of_each(experiments: Sequence[Config]) -> list[Config]:
    """Return the first experiment of each name."""
    first = {experiment.name: experiment for experiment in reversed(experiments)}
    return [*reversed(first.values())]

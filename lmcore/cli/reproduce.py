"""lmcore reproduce: finished runs of a study trained again and compared."""

from pathlib import Path

from lmcore.cli.arguments import StudyName
from lmcore.cli.run import chosen_experiments
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.reproduce import (
    Repeat,
    bounds,
    repeat,
    replace_run,
    runs_of_lost_commits,
    sampled,
)
from lmcore.experiments.runner import load_finished
from lmcore.studies import study_called
from lmcore.training.runtime import keep_large_blocks


def run(
    study: StudyName,
    sample: int | None = 3,
    only: str | None = None,
    seeds: tuple[int, ...] = (),
    small: bool = False,
    lost: bool = False,
    replace: bool = False,
    into: Path = Path(".cache/repeated"),
    data: Path | None = None,
) -> None:
    """Train finished runs of a study again and say whether they agree.

    Identical means that every recorded number is equal. Other runs agree if their last validation
    scores are no further apart than those of the experiment's seeds (2 % where there is one seed).
    Each repeat takes precision and compilation from its run. Interrupted repeats resume.

    Args:
        study: The study's name.
        sample: How many runs, drawn at random. None: all.
        only: Only runs of the experiment of this name.
        seeds: Only runs with these seeds.
        small: Runs of the small versions.
        lost: Only runs that name a commit which is not in the history.
        replace: Put each repeat in the place of its run, and note both in repeated.jsonl.
        into: The folder for the repeats.
        data: A file of titles, one a line, or a folder of texts with headlines.txt in it
            (or set LMCORE_DATA).
    """
    keep_large_blocks()
    current = study_called(study)
    if current.probe is None:
        raise ValueError(f"{study} trains no model: run it again with lmcore run {study}")
    configs = chosen_experiments(current, only, seeds)
    if small:
        configs = [current.smoke(config) for config in configs]
    chosen = [config for config in configs if isinstance(config, Experiment)]
    finished = load_finished(chosen)
    candidates = runs_of_lost_commits(chosen) if lost else finished
    if not candidates:
        raise ValueError(f"{study} has no finished run to repeat: lmcore run {study} makes them")
    agreed = bounds(finished)
    differing = 0
    for finished_run in sampled(candidates, sample):
        repeated = repeat(
            finished_run,
            current.probe,
            into,
            agreed[finished_run.config.name],
            history=current.history,
            data=data,
        )
        print(line_of(repeated), flush=True)
        differing += repeated.verdict == "differs"
        if replace:
            replace_run(finished_run, repeated, into)
    if differing:
        raise ValueError(f"{differing} runs differ from their repeats by more than their bound")


def line_of(repeated: Repeat) -> str:
    """Return what a repeat showed in one line."""
    if repeated.verdict == "identical":
        return f"{repeated.path}: identical"
    machine = "the same machine" if repeated.same_machine else "another machine or precision"
    return (
        f"{repeated.path}: {repeated.verdict}, {repeated.before:.4f} then {repeated.after:.4f} "
        f"(bound {repeated.bound:.4f}), from step {repeated.first_difference} on, {machine}"
    )

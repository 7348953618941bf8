"""Train finished runs again and compare: does the same config give the same numbers?"""

import json
import random
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmcore.evaluation.score_types import Answers
from lmcore.experiments.environment import git
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.run_folder import Run
from lmcore.experiments.runner import History, Probe, load_finished, run_or_load
from lmcore.files import from_json, write_text
from lmcore.training.runtime import Runtime

ONE_SEED = 0.02
"""Where one seed shows no spread, final scores agree up to this share of the score."""
MACHINE = ("python", "torch", "numpy", "device", "threads", "processes", "precision", "compile")
"""Facts of an environment; where all are equal, the same numbers are expected, bit for bit."""
NOTES = "repeated.jsonl"
"""The file in a study's folder of results that holds the repeats of its replaced runs."""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """A finished run beside a run of the same config that was trained again."""

    path: str
    """Study, experiment and seed."""
    commit: str
    """The commit of the code that trained the finished run."""
    repeated_at: str
    """The commit of the code that trained it again."""
    same_machine: bool
    """Whether processor, threads, precision and versions were the same."""
    first_difference: int | None
    """The first step whose record has another number; None if all are equal."""
    before: float
    """The last validation score of the finished run: nats per token, or accuracy."""
    after: float
    """The same of the new run."""
    bound: float
    """How far apart the two may be to agree: the range over the experiment's seeds."""

    @property
    def verdict(self) -> str:
        """Whether the runs are identical, agree within the bound, or differ."""
        if self.first_difference is None:
            return "identical"
        return "agrees" if abs(self.after - self.before) <= self.bound else "differs"


def repeat(
    run: Run,
    probe: Probe,
    into: Path,
    bound: float,
    *,
    history: History | None = None,
    data: Path | None = None,
) -> Repeat:
    """Train the config of a finished run again, in the folder into, and compare the two.

    Precision and compilation are those of the finished run. An interrupted repeat resumes.
    """
    recorded = run.environment["sessions"][-1]
    new = run_or_load(
        run.config,
        probe,
        history=history,
        runtime=Runtime(precision=recorded["precision"], compile=recorded["compile"]),
        data=data,
        scratch=into / "unfinished",
        results=into / "results",
    )
    now = new.environment["sessions"][-1]
    return Repeat(
        path=run.config.path.as_posix(),
        commit=recorded["commit"],
        repeated_at=now["commit"],
        same_machine=all(recorded.get(fact) == now.get(fact) for fact in MACHINE),
        first_difference=first_difference(run.records, new.records),
        before=final_score(run),
        after=final_score(new),
        bound=bound,
    )


def first_difference(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> int | None:
    """Return the first step at which records differ in more than their time, or None."""
    for old, new in zip(before, after, strict=False):
        names = (old.keys() | new.keys()) - {"elapsed_s"}
        if any(old.get(name) != new.get(name) for name in names):
            return min(old["step"], new["step"])
    n_common = min(len(before), len(after))
    longer = max(before, after, key=len)
    return longer[n_common]["step"] if len(longer) > n_common else None


def final_score(run: Run) -> float:
    """Return a run's last validation score: nats per token, or the accuracy of answers."""
    score = next(r["validation"] for r in reversed(run.records) if "validation" in r)
    return score.accuracy if isinstance(score, Answers) else score.loss


def bounds(runs: Sequence[Run]) -> dict[str, float]:
    """Return for each name of runs how far apart two final scores of it may be to agree.

    It is the range over the seeds, or ONE_SEED of the score where there is one seed.
    """
    finals: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        finals[run.config.name].append(final_score(run))
    return {
        name: max(scores) - min(scores) if len(scores) > 1 else ONE_SEED * abs(scores[0])
        for name, scores in finals.items()
    }


# Which runs


def sampled(runs: Sequence[Run], n: int | None) -> list[Run]:
    """Return n of runs at random, or all where n is None or too large."""
    return list(runs) if n is None or n >= len(runs) else random.Random().sample(list(runs), n)


def runs_of_lost_commits(experiments: Sequence[Experiment]) -> list[Run]:
    """Return the finished runs that name a commit which is not in the history."""
    known = ancestors()
    return [run for run in load_finished(experiments) if not known.issuperset(commits(run))]


def commits(run: Run) -> set[str]:
    """Return the commits of the code that trained a run."""
    return {session["commit"] for session in run.environment["sessions"]}


def ancestors() -> frozenset[str]:
    """Return the present commit and all before it."""
    return frozenset(git("rev-list", "HEAD").split())


# Replacing


def replace_run(run: Run, repeated: Repeat, into: Path) -> None:
    """Put a repeat in the place of its finished run, and note both in the study's NOTES.

    Raises:
        ValueError: the repeat was trained by code that is not in the history.
    """
    new = into / "results" / run.config.path
    if repeated.repeated_at not in ancestors():
        raise ValueError(f"{new} names no commit of this history: commit, delete it, run it again")
    notes = run.folder.parents[1] / NOTES
    earlier = notes.read_text(encoding="utf-8") if notes.exists() else ""
    write_text(notes, earlier + json.dumps(asdict(repeated), allow_nan=False) + "\n")
    shutil.rmtree(run.folder)
    shutil.move(new, run.folder)


def read_notes(path: Path) -> list[Repeat]:
    """Return the repeats that were noted in path, oldest first."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Repeat(**from_json(line)) for line in lines]

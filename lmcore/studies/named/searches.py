"""The searches that found the tuned baseline and the best models within a budget.

A trial is an eighth of an experiment, on a seed that appears in no other result. What is varied and
what is found are at published size.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmcore.config import flat_fields
from lmcore.experiments.experiment import Experiment, flops_per_step, workspace
from lmcore.experiments.overrides import changed_experiment
from lmcore.experiments.search import Choice, Range, SearchResult, Space, search
from lmcore.files import read_json, write_json
from lmcore.studies.named.experiments import BASELINE, CHANGES, FOUND, named, scaled
from lmcore.studies.named.probes import probe
from lmcore.training.runtime import Runtime

TUNING_SEED = 71
"""The seed of trials."""
PART = "eighth"
"""What is run of an experiment in a trial."""
STORAGE = Path("results/named/searches.journal")
"""Optuna's file of all trials, in the workspace."""


@dataclass(frozen=True, kw_only=True)
class NamedSearch:
    """A search: what it varies, and within which budget."""

    space: Space
    """What is varied."""
    is_allowed: Callable[[Experiment], bool] = lambda run: True
    """Which experiments are within the budget."""
    tuned_as: str | None = None
    """The search whose result every trial begins with."""
    n_trials: int = 10
    """Trials that are complete or pruned."""


def total_flops(experiment: Experiment) -> int:
    """Return the operations of all steps of experiment."""
    assert experiment.train.steps is not None, "named experiments have a length in steps"
    return experiment.train.steps * flops_per_step(experiment)


def is_small(experiment: Experiment) -> bool:
    """Return whether experiment has at most half of the baseline's parameters, also in part."""
    pairs = ((experiment, BASELINE), (scaled(experiment, PART), scaled(BASELINE, PART)))
    return all(2 * run.model.n_parameters <= base.model.n_parameters for run, base in pairs)


def is_fast(experiment: Experiment) -> bool:
    """Return whether experiment takes at most half of the baseline's operations, also in part."""
    pairs = ((experiment, BASELINE), (scaled(experiment, PART), scaled(BASELINE, PART)))
    return all(2 * total_flops(run) <= total_flops(base) for run, base in pairs)


SIZES: dict[str, Range | Choice] = {
    "model.vocab_size": Choice(values=(4_000, 8_000, 16_000, 32_000)),
    "model.d_model": Choice(values=(128, 192, 256, 384)),
    "model.n_layers": Choice(values=(2, 4, 6)),
    "train.optimizer.lr": Range(low=3e-4, high=3e-3),
}
SEARCHES = {
    "baseline_tuned": NamedSearch(
        space={
            "train.optimizer.lr": Range(low=2e-4, high=5e-3),
            "train.schedule.kind": Choice(values=("constant", "cosine", "wsd")),
            "train.schedule.warmup_steps": Choice(values=(0, 80, 240)),
            "train.optimizer.weight_decay": Choice(values=(0.0, 0.1, 0.3)),
            "model.dropout": Choice(values=(0.0, 0.1)),
        },
    ),
    "optimal_small": NamedSearch(
        space=SIZES,
        is_allowed=is_small,
        tuned_as="baseline_tuned",
    ),
    "optimal_fast": NamedSearch(
        space=SIZES | {"train.steps": Choice(values=(1_000, 2_000, 4_000))},
        is_allowed=is_fast,
        tuned_as="baseline_tuned",
    ),
}


def start_of(name: str) -> Experiment:
    """Return the experiment that the trials of a search change.

    Raises:
        ValueError: it builds on a search that has not been made.
    """
    plan = SEARCHES[name]
    base = plan.tuned_as or "baseline"
    if base not in CHANGES:
        raise ValueError(f"{name} builds on {base}: lmcore experiments search {base} comes first")
    return replace(named(base), name=name, seed=TUNING_SEED)


def run_search(
    name: str,
    *,
    n_trials: int | None = None,
    storage: Path | None = None,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
    progress: bool = False,
    show: Callable[[str], None] | None = None,
) -> SearchResult:
    """Return the trials of a search, which is made or resumed."""
    plan = SEARCHES[name]
    return search(
        start_of(name),
        plan.space,
        probe,
        storage=storage or workspace() / STORAGE,
        n_trials=n_trials or plan.n_trials,
        as_run=lambda experiment: scaled(experiment, PART),
        is_allowed=plan.is_allowed,
        runtime=runtime,
        data=data,
        scratch=scratch,
        progress=progress,
        show=show,
    )


def record_found(name: str, result: SearchResult) -> dict[str, Any]:
    """Return how the best trial differs from the baseline, and write it to FOUND.

    The experiment of this name is there in processes that start after it.
    """
    best = flat_fields(changed_experiment(start_of(name), result.best.fields))
    before = flat_fields(BASELINE)
    fields = {
        name: value
        for name, value in best.items()
        if name not in ("name", "seed") and value != before[name]
    }
    write_json(FOUND, (read_json(FOUND) if FOUND.exists() else {}) | {name: fields})
    return fields

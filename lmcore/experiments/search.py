"""A search for the best experiment with Optuna: each trial is a run folder, and searches resume.

The storage is one file. A trial that was interrupted is tried first when the search goes on, and
its run resumes from its checkpoint. Needs the extra `search`.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lmcore.config import config_hash
from lmcore.evaluation.score_types import Score
from lmcore.experiments.batch import Show
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.overrides import (
    changed_experiment,
    parse_override,
    plain_value,
)
from lmcore.experiments.run_folder import Run
from lmcore.experiments.runner import Probe, run_or_load
from lmcore.locks import locked
from lmcore.training.records import Record
from lmcore.training.runtime import Runtime

STARTUP_TRIALS = 4
"""Trials that are drawn at random before the sampler learns from them, and that nothing prunes."""
LOG_FROM = 10
"""Ranges whose ends are at least this factor apart are drawn on a logarithmic scale."""
MOST_DRAWS = 200
"""Draws in a row that may break the limits before the space is given up."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from low to high; integers if both are."""

    low: float
    high: float

    def __post_init__(self):
        if not self.low < self.high:
            raise ValueError(f"a range goes up, not from {self.low:g} to {self.high:g}")

    @property
    def is_log(self) -> bool:
        """Whether it is drawn on a logarithmic scale."""
        return self.low > 0 and self.high / self.low >= LOG_FROM


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]


Space = Mapping[str, Range | Choice]
"""What is searched, by a field's full name."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of a search."""

    number: int
    state: str
    """complete, pruned, fail (an error, or it diverged), or running."""
    fields: dict[str, Any]
    """The values that were tried, by full name."""
    bpb: float | None
    """Bits per byte on the validation text; None unless it is complete."""


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The trials of a search, in order."""

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The complete trial with the fewest bits per byte.

        Raises:
            ValueError: none is complete.
        """
        complete = [trial for trial in self.trials if trial.bpb is not None]
        if not complete:
            raise ValueError(f"none of {len(self.trials)} trials is complete: try more of them")
        return min(complete, key=lambda trial: trial.bpb or 0.0)


def parse_space(text: str, experiment: Experiment) -> tuple[str, Range | Choice]:
    """Return the field that text names and what it is searched in.

    FIELD=LOW..HIGH is a range, FIELD=A,B,C a choice.

    Raises:
        ValueError: the field is unknown, or the values are of another type.
    """
    name, _, values = text.partition("=")
    if ".." in values:
        ends = [plain_value(end.strip()) for end in values.split("..")]
        if len(ends) != 2 or not all(type(end) in (int, float) for end in ends):
            raise ValueError(f"{text!r} is no range: write {name}=LOW..HIGH")
        override = parse_override(f"{name}={ends[0]},{ends[1]}", experiment)
        return override.field, Range(low=override.values[0], high=override.values[1])
    override = parse_override(text, experiment)
    return override.field, Choice(values=override.values)


def search(
    base: Experiment,
    space: Space,
    probe: Probe,
    *,
    storage: Path,
    n_trials: int,
    as_run: Callable[[Experiment], Experiment] | None = None,
    is_allowed: Callable[[Experiment], bool] | None = None,
    sampler_seed: int = 0,
    runtime: Runtime | None = None,
    data: Path | None = None,
    scratch: Path | None = None,
    progress: bool = False,
    show: Show | None = None,
) -> SearchResult:
    """Search space around base for the fewest bits per byte, until n_trials are complete or pruned.

    Each trial is base with other values, under base's name and a hash of them, so that the same
    values are run once. as_run turns it into the experiment that is run, such as a smaller version;
    is_allowed says which experiments may be run. A trial is pruned, and its run left unfinished,
    when an evaluation is worse than the median of earlier trials at that share of the run.

    Raises:
        ValueError: Optuna is not installed, another process searches with this storage, no draw is
            allowed, or a text is missing.
        KeyboardInterrupt: on Ctrl-C; the next call resumes the trial.
    """
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    as_run, is_allowed = as_run or (lambda run: run), is_allowed or (lambda run: True)
    storage.parent.mkdir(parents=True, exist_ok=True)
    with locked(storage):
        study = _study(optuna, storage, base.name, sampler_seed)
        _retry_interrupted(optuna, study)
        while _n_tried(optuna, study) < n_trials:
            trial, experiment = _drawn(optuna, study, base, space, is_allowed)
            try:
                run = run_or_load(
                    as_run(experiment),
                    probe,
                    runtime=runtime,
                    data=data,
                    scratch=scratch,
                    progress=progress,
                    watch=_pruned_by(optuna, trial, as_run(experiment)),
                )
            except optuna.TrialPruned:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                _tell(optuna, study, trial, run)
            if show:
                show(_line(_trials(study)[trial.number]))
        return SearchResult(trials=tuple(_trials(study)))


def trials_in(storage: Path, name: str) -> SearchResult:
    """Return the trials so far of the search around the experiment called name.

    Raises:
        ValueError: Optuna is not installed, or the file has no such search.
    """
    optuna = _optuna()
    if not storage.is_file():
        raise ValueError(f"{storage} is missing: no search was stored there")
    try:
        study = optuna.load_study(study_name=name, storage=_file(optuna, storage))
    except KeyError:
        raise ValueError(f"{storage} holds no search around {name!r}") from None
    return SearchResult(trials=tuple(_trials(study)))


def trial_name(base: Experiment, experiment: Experiment) -> str:
    """Return the name of a trial's run: the base's, and a hash of what was tried."""
    return f"{base.name}-trial-{config_hash(experiment)[:8]}"


def _optuna() -> Any:
    try:
        return importlib.import_module("optuna")
    except ModuleNotFoundError:
        raise ValueError("a search needs Optuna: pip install 'lmcore[search]'") from None


def _file(optuna: Any, storage: Path) -> Any:
    backend = optuna.storages.journal.JournalFileBackend(str(storage))
    return optuna.storages.JournalStorage(backend)


def _study(optuna: Any, storage: Path, name: str, seed: int) -> Any:
    study = optuna.create_study(
        study_name=name,
        storage=_file(optuna, storage),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=20),
        load_if_exists=True,
    )
    # A search that goes on must not draw again what it drew at the beginning.
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=STARTUP_TRIALS, seed=seed + len(study.trials)
    )
    return study


def _retry_interrupted(optuna: Any, study: Any) -> None:
    """Let the trials that a killed process left running be tried first."""
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _n_tried(optuna: Any, study: Any) -> int:
    states = optuna.trial.TrialState
    return len(study.get_trials(states=[states.COMPLETE, states.PRUNED])) - sum(
        "refused" in trial.user_attrs for trial in study.trials
    )


def _drawn(
    optuna: Any,
    study: Any,
    base: Experiment,
    space: Space,
    is_allowed: Callable[[Experiment], bool],
) -> tuple[Any, Experiment]:
    """Return the next allowed trial and its experiment."""
    for _ in range(MOST_DRAWS):
        trial = study.ask()
        values = {field: _suggested(trial, field, where) for field, where in space.items()}
        experiment = changed_experiment(base, values)
        if is_allowed(experiment):
            return trial, replace(experiment, name=trial_name(base, experiment))
        trial.set_user_attr("refused", True)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    raise ValueError(f"none of {MOST_DRAWS} draws around {base.name} is allowed: widen the space")


def _suggested(trial: Any, field: str, where: Range | Choice) -> Any:
    if isinstance(where, Choice):
        return trial.suggest_categorical(field, list(where.values))
    if isinstance(where.low, int) and isinstance(where.high, int):
        return trial.suggest_int(field, where.low, where.high, log=where.is_log)
    return trial.suggest_float(field, where.low, where.high, log=where.is_log)


def _pruned_by(optuna: Any, trial: Any, experiment: Experiment) -> Callable[[Record], None]:
    """Return what reports a run's scores, by the percent of its steps, and may end the trial."""
    steps = experiment.train.steps or 1

    def watch(record: Record) -> None:
        score = record.scores.get("validation")
        if record.step == 0 or not isinstance(score, Score):
            return
        trial.report(score.bpb, round(100 * record.step / steps))
        if record.step < steps and trial.should_prune():
            raise optuna.TrialPruned

    return watch


def _tell(optuna: Any, study: Any, trial: Any, run: Run) -> None:
    if "diverged" in run.outcome:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        study.tell(trial, run.records[-1]["validation"].bpb)


def _trials(study: Any) -> list[Trial]:
    return [
        Trial(number=t.number, state=t.state.name.lower(), fields=dict(t.params), bpb=t.value)
        for t in study.get_trials(deepcopy=False)
    ]


def _line(trial: Trial) -> str:
    values = ", ".join(f"{name} {value}" for name, value in trial.fields.items())
    score = "" if trial.bpb is None else f" {trial.bpb:.4f} bits/byte"
    return f"trial {trial.number} {trial.state}{score}: {values}"

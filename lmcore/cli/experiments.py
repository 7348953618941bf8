"""lmcore experiments: list, inspect, run, search and compare named experiments."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from lmcore.experiments.batch import BatchResult, run_batch
from lmcore.experiments.catalog import Catalog, catalog_from, known
from lmcore.experiments.cost import cost
from lmcore.experiments.experiment import Experiment, seeded
from lmcore.experiments.fitting import fitted, on_text
from lmcore.experiments.on_ray import run_on_ray
from lmcore.experiments.on_slurm import run_on_slurm
from lmcore.experiments.overrides import grid
from lmcore.experiments.run_folder import Run
from lmcore.experiments.search import parse_space
from lmcore.experiments.search import search as search_around
from lmcore.experiments.status import Progress, progress_of
from lmcore.report import plotting
from lmcore.report.comparison import (
    bits_per_byte,
    changed_fields,
    comparison,
    configuration,
    plan,
    write_comparison,
)
from lmcore.report.comparison_figures import (
    parameters,
    plot_changes,
    plot_costs,
    plot_tokens,
    save_figures,
    training_s,
)
from lmcore.report.run_files import write_run_files
from lmcore.report.tables import Table
from lmcore.studies.named.catalog import Scale, at_scale, catalog, prefix_of
from lmcore.studies.named.experiments import FOUND, SEEDS
from lmcore.studies.named.searches import SEARCHES, record_found, run_search
from lmcore.training.runtime import Runtime, keep_large_blocks

UNFINISHED = 3
"""Exit status of a batch that did not finish every run."""
Names = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which experiments, on which text, at which size."""

    from_: Annotated[Path | None, tyro.conf.arg(name="from", metavar="FILE")] = None
    """Experiments of your own: a Python file, which is run, or a TOML file."""
    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="FIELD=VALUES")
    ] = ()
    """Change a field; several values, such as train.lr=1e-3,3e-3, give an experiment for each, and
    several fields every combination.
    """
    scale: Scale = "published"
    """published size, a quarter or an eighth of it (in width, vocabulary, text and steps), or smoke
    (seconds, on generated text).
    """
    seeds: tuple[int, ...] = ()
    """Seeds of each experiment. None given: the first of the study."""
    study: str | None = None
    """The name of the folder of results, which holds runs on one text."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A text file, or a folder with the text's name in it (or set LMCORE_DATA)."""

    @property
    def catalog(self) -> Catalog:
        """The experiments by name."""
        return catalog() if self.from_ is None else catalog_from(self.from_, catalog())

    @property
    def baseline(self) -> str | None:
        """The name that runs of the baseline have, if there is one in the catalog.

        With one value for each changed field, that is the baseline with these values too.
        """
        experiments = self.catalog.experiments
        if "baseline" not in experiments:
            return None
        names = {experiment.name for experiment in self.chosen([experiments["baseline"]])}
        return names.pop() if len(names) == 1 else f"{prefix_of(self.scale)}baseline"

    def chosen(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        """Return experiments at this scale, with the changes, seeds, text and study asked for."""
        study = self.catalog.study
        scaled = [at_scale(experiment, self.scale, study) for experiment in experiments]
        if self.data is not None and not self.data.is_dir():
            scaled = [on_text(experiment, self.data.name) for experiment in scaled]
        if self.study is not None:
            scaled = [replace(experiment, study=self.study) for experiment in scaled]
        changed = grid(scaled, self.set) if self.set else scaled
        return seeded(changed, self.seeds) if self.seeds else changed


Chosen = Annotated[Selection, tyro.conf.arg(name="")]


@dataclass(frozen=True, kw_only=True)
class Running:
    """How experiments are run."""

    jobs: int = 1
    """Processes side by side; they share this machine's threads."""
    on: Literal["here", "ray", "slurm"] = "here"
    """Where runs are made: in processes here, on a Ray cluster (extra `cluster`), or as jobs of
    Slurm (extra `slurm`).
    """
    address: str | None = None
    """The Ray cluster, such as auto or ray://head:10001. None: one that is started here."""
    partition: str | None = None
    """Slurm's partition. None: the default one."""
    minutes: int = 24 * 60
    """Time limit of a Slurm job; one that runs out of time is queued again and resumes."""
    cpus: int = 1
    """Processor cores of each run on a cluster."""
    gpus: int = 0
    """GPUs of each run on a cluster."""
    dry_run: bool = False
    """Print what it costs and stop."""
    scratch: Path | None = None
    """The folder for unfinished runs and their checkpoints."""
    runtime: Runtime = field(default_factory=Runtime)
    """Device, precision and compilation; chosen for this machine by default."""


How = Annotated[Running, tyro.conf.arg(name="")]


def list_experiments(choice: Chosen = Selection()) -> None:
    """List the experiments with what they change, and the groups.

    Args:
        choice: Which experiments.
    """
    entries = choice.catalog
    width = max(map(len, [*entries.experiments, *entries.groups]))
    for name in entries.experiments:
        print(f"{name:{width}}  {entries.descriptions.get(name, '')}".rstrip())
    print("\ngroups")
    for name, members in entries.groups.items():
        print(f"{name:{width}}  {', '.join(members)}")


def details(names: Names, choice: Chosen = Selection()) -> None:
    """Show an experiment: every field, what differs from the baseline, memory and time here.

    Args:
        names: Names of experiments.
        choice: Which experiments.
    """
    entries = choice.catalog
    for experiment in choice.chosen(entries.named(names)):
        print(f"\n{experiment.name}\n\n{configuration(experiment).markdown()}\n")
        if choice.baseline:
            baseline = at_scale(entries.experiments["baseline"], choice.scale, entries.study)
            print(f"{difference_lines(baseline, experiment)}\n")
        print(f"{plan([experiment]).markdown()}\n\n{cost([experiment], Runtime())}")


def difference_lines(baseline: Experiment, experiment: Experiment) -> str:
    """Return a table of what differs from the baseline, or that nothing does."""
    table = changed_fields(baseline, experiment)
    return table.markdown() if table.rows else f"{experiment.name} is the baseline"


def run(names: Names, choice: Chosen = Selection(), how: How = Running()) -> None:
    """Run experiments by name. Finished runs are not run again, interrupted ones resume.

    Args:
        names: Names of experiments; all of --from's file if none are given.
        choice: Which experiments.
        how: How they are run.
    """
    entries = choice.catalog
    if not names and choice.from_ is None:
        raise ValueError("name an experiment to run; lmcore experiments list shows them")
    run_chosen(choice, how, entries.named(names) if names else entries.group("all"))


def batch(
    group: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="GROUP")],
    choice: Chosen = Selection(),
    how: How = Running(),
) -> None:
    """Run a group of experiments with three seeds each, on after failures, and summarise.

    Args:
        group: The name of a group, such as quick or all.
        choice: Which experiments.
        how: How they are run.
    """
    if not choice.seeds:
        choice = replace(choice, seeds=SEEDS)
    run_chosen(choice, how, choice.catalog.group(group))


def run_chosen(choice: Selection, how: Running, experiments: Sequence[Experiment]) -> None:
    """Run experiments as chosen, and print the cost first and a summary last.

    Exits with status UNFINISHED if not all of them finish.
    """
    keep_large_blocks()
    chosen = fitted(choice.chosen(experiments), choice.data, show, progress=True)
    waiting = [e for e in chosen if progress_of(e, how.scratch).stage != "finished"]
    if waiting:
        show(cost(waiting, how.runtime))
    if how.dry_run:
        print(plan(waiting).markdown())
        return
    study = choice.catalog.study
    options = {
        "history": study.history,
        "after": write_run_files,
        "runtime": how.runtime,
        "data": choice.data,
        "scratch": how.scratch,
        "show": show,
    }
    probe = study.probe or no_probe
    if how.on == "ray":
        share = {"cpus_per_run": how.cpus, "gpus_per_run": how.gpus}
        result = run_on_ray(chosen, probe, address=how.address, **share, **options)
    elif how.on == "slurm":
        result = run_on_slurm(
            chosen,
            probe,
            partition=how.partition,
            minutes=how.minutes,
            cpus_per_run=how.cpus,
            gpus_per_run=how.gpus,
            **options,
        )
    else:
        result = run_batch(chosen, probe, jobs=how.jobs, **options)
    report(result, choice)


def no_probe(model: object, corpus: object) -> dict[str, object]:
    """Return nothing: what is kept of a model where a study says nothing."""
    return {}


def report(result: BatchResult, choice: Selection) -> None:
    """Print the comparison of a batch's runs, then its summary."""
    if result.runs:
        print(f"\n{comparison(result.runs, choice.baseline).markdown()}")
    show(result.summary())
    if result.unfinished:
        raise SystemExit(UNFINISHED)


def compare(
    names: Names = (),
    choice: Chosen = Selection(),
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("comparison"),
) -> None:
    """Compare finished runs: a table, CSV, Markdown, and figures in bits per byte.

    Args:
        names: Names of experiments; all by default.
        choice: Which experiments.
        out: Folder for comparison.md, comparison.csv and the figures.
    """
    entries = choice.catalog
    runs = finished(choice, entries.named(names or entries.experiments))
    if not runs:
        raise ValueError("none of these experiments is finished: lmcore experiments status")
    written = write_comparison(out, runs, choice.baseline)
    written += save_figures(out, figures_of(runs, choice))
    print(comparison(runs, choice.baseline).markdown())
    print(*(f"{path}" for path in written), sep="\n")


def finished(choice: Selection, experiments: Sequence[Experiment]) -> list[Run]:
    """Return the finished runs of experiments, with every seed of the study unless some are asked.

    An experiment with a vocabulary that its text did not reach is compared with what it reached.
    """
    if not choice.seeds:
        choice = replace(
            choice, seeds=tuple(dict.fromkeys([e.seed for e in experiments] + [*SEEDS]))
        )
    chosen = fitted(choice.chosen(experiments), choice.data)
    return [progress.run for e in chosen if (progress := progress_of(e)).run is not None]


def figures_of(runs: Sequence[Run], choice: Selection) -> dict[str, plotting.Figure]:
    """Return the figures of a comparison, and those of a user's study."""
    plotting.use_style()
    prefix = prefix_of(choice.scale)
    costs = {"parameters": parameters, "training, seconds": training_s}
    figures = {"costs": plot_costs(runs, costs, prefix), "tokens": plot_tokens(runs, prefix)}
    names = {run.config.name for run in runs}
    baseline, descriptions = choice.baseline, choice.catalog.descriptions
    if baseline in names and baseline is not None and len(names) > 1:
        figures["changes"] = plot_changes(runs, baseline, descriptions, prefix)
    return figures | {name: draw(runs) for name, draw in choice.catalog.study.figures.items()}


def status(
    names: Names = (),
    choice: Chosen = Selection(),
    scratch: Path | None = None,
) -> None:
    """Show how far experiments are: finished, running, failed, interrupted or not begun.

    Args:
        names: Names of experiments; all by default.
        choice: Which experiments.
        scratch: The folder of unfinished runs.
    """
    entries = choice.catalog
    if not choice.seeds:
        choice = replace(choice, seeds=SEEDS)
    chosen = choice.chosen(entries.named(names or entries.experiments))
    print(status_table([progress_of(experiment, scratch) for experiment in chosen]).markdown())


def status_table(progress: Sequence[Progress]) -> Table:
    """Return a row for each experiment: how far it is, its step and score, and why it stopped."""
    rows = []
    for one in progress:
        experiment = one.experiment
        steps = f"{one.step:,} of {experiment.train.steps or 0:,}" if one.step else ""
        row = (
            experiment.name,
            f"{experiment.seed}",
            one.stage,
            steps,
            final_score(one.run),
            one.reason,
        )
        rows.append(row)
    header = ("experiment", "seed", "state", "steps", "validation, bits/byte", "reason")
    return Table(header, tuple(rows))


def final_score(run: Run | None) -> str:
    """Return a run's bits per byte as text; of none, or one that diverged, an empty one."""
    if run is None:
        return ""
    return "diverged" if "diverged" in run.outcome else f"{bits_per_byte(run):.4f}"


def search(
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
    space: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="FIELD=VALUES")
    ] = (),
    trials: int | None = None,
    storage: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    choice: Chosen = Selection(),
    how: How = Running(),
) -> None:
    """Search for the best values of fields with Optuna (extra `search`); again to resume it.

    Without --space, make one of the study's searches (baseline_tuned, optimal_small, optimal_fast)
    and write what it finds to the package, where the experiment of this name reads it.

    Args:
        name: The experiment to search around, or a search of the study.
        space: What is searched: FIELD=LOW..HIGH or FIELD=A,B,C; several fields are searched
            together.
        trials: How many, with those there are.
        storage: Optuna's file of the trials.
        choice: Which experiment, text and size.
        how: How trials are run; they run one after another.
    """
    keep_large_blocks()
    options = {"runtime": how.runtime, "data": choice.data, "scratch": how.scratch}
    if not space:
        wanted = known("search", name, SEARCHES)
        result = run_search(
            wanted, n_trials=trials, storage=storage, progress=True, show=show, **options
        )
        print(f"written to {FOUND}: {record_found(wanted, result)}")
        return
    entries = choice.catalog
    [base, *others] = fitted(choice.chosen(entries.named([name])), choice.data, show)
    if others:
        raise ValueError("a search is around one experiment: give one seed and no grid")
    fields = dict(parse_space(text, base) for text in space)
    result = search_around(
        base,
        fields,
        entries.study.probe or no_probe,
        storage=storage or base.root / "results" / base.study / "searches.journal",
        n_trials=trials or 20,
        progress=True,
        show=show,
        **options,
    )
    best = result.best
    print(f"best of {len(result.trials)}: {best.bpb:.4f} bits/byte with {best.fields}")


def show(line: str) -> None:
    """Print a line above the bars."""
    tqdm.write(line, file=sys.stderr)


def menu() -> None:
    """Choose experiments from a menu, or give a command: list, details, run, batch, compare, ...

    `lmcore experiments COMMAND --help` explains a command. Where there is no terminal, the
    experiments are listed.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        list_experiments()
        return
    from lmcore.cli.experiments_menu import open_menu  # it builds on this module

    open_menu()


COMMANDS = {
    "list": list_experiments,
    "details": details,
    "run": run,
    "batch": batch,
    "compare": compare,
    "status": status,
    "search": search,
}

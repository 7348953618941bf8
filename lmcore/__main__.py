"""The command line: a thin cover over the functions that the notebooks call."""

import sys

if __name__ == "__main__":  # what follows takes seconds to load, in which one may press Ctrl-C
    sys.excepthook = lambda kind, error, trace: (
        print("lmcore: stopped", file=sys.stderr)
        if kind is KeyboardInterrupt
        else sys.__excepthook__(kind, error, trace)
    )

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import tyro
from tqdm.auto import tqdm

from lmcore import studies
from lmcore.experiments.cost import cost
from lmcore.experiments.experiment import smoke, workspace
from lmcore.experiments.run_folder import Run
from lmcore.experiments.runner import loaded, run_all
from lmcore.files import write_text
from lmcore.report.tables import account, scores
from lmcore.studies.headlines import ladder
from lmcore.training import parallel
from lmcore.training.records import DivergedError
from lmcore.training.runtime import Runtime, keep_large_blocks

STUDIES = sorted(
    module.name for module in pkgutil.iter_modules(studies.__path__) if module.name != "headlines"
)
Study = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]


def study_module(name: str) -> ModuleType:
    """Return the study called name.

    Raises:
        ValueError: there is none; the message names those there are.
    """
    if name not in STUDIES:
        raise ValueError(f"there is no study {name!r}; there are: {', '.join(STUDIES)}")
    return importlib.import_module(f"lmcore.studies.{name}")


def is_trained(study: ModuleType) -> bool:
    """Return whether a study trains models; another one measures by a `run_all` of its own."""
    return not hasattr(study, "run_all")


def chosen_experiments(study: str, only: str | None, seeds: tuple[int, ...]) -> list[Any]:
    """Return the experiments of study with this name and these seeds, where they are given.

    A study that trains nothing has surveys in their place.

    Raises:
        ValueError: the study has no such experiment; the message names those it has.
    """
    everything = study_module(study).experiments()
    chosen = [e for e in everything if only in (None, e.name) and (not seeds or e.seed in seeds)]
    if not chosen or set(seeds) - {e.seed for e in everything}:
        asked = f"{only or 'experiment'} with seed {', '.join(map(str, seeds)) or 'of any kind'}"
        names = ", ".join(f"{e.name} {e.seed}" for e in everything)
        raise ValueError(f"{study} has no {asked}; it has: {names}")
    return chosen


def run(
    study: Study,
    small: bool = False,
    only: str | None = None,
    seeds: tuple[int, ...] = (),
    data: Path | None = None,
    scratch: Path | None = None,
    runtime: Runtime = Runtime(),  # noqa: B008 - tyro reads its fields as options
) -> None:
    """Run a study's experiments, or load those that are finished; an interrupted run goes on.

    Args:
        study: Which study, by the name of its module in lmcore/studies; all for every one.
        small: Take the version of seconds on generated titles, once each unless seeds are named.
        only: Only the experiment of this name.
        seeds: Only these seeds; all of the study's when left out.
        data: Local titles, one a line, or a folder of texts, headlines.txt one (or LMCORE_DATA).
        scratch: Where unfinished runs and their checkpoints stand.
        runtime: Device, precision and compilation; settled by what the machine has.
    """
    keep_large_blocks()
    for name in STUDIES if study == "all" else [study]:
        chosen, module = chosen_experiments(name, only, seeds), study_module(name)
        if not is_trained(module):
            chosen = [module.smoke(survey) for survey in chosen] if small else chosen
            print(*(done.folder for done in module.run_all(chosen, data)), sep="\n")
            continue
        if small:
            once = {experiment.name: experiment for experiment in reversed(chosen)}
            chosen = [smoke(each) for each in (chosen if seeds else reversed(once.values()))]
        with parallel.group():
            runs = run_all(
                chosen,
                module.probe,
                history=getattr(module, "history", None),
                runtime=runtime,
                data=data,
                scratch=scratch,
            )
            if parallel.rank() == 0:
                print(*(done.folder for done in runs), sep="\n")


def live(operation: str = "/", p: int = 97, seed: int = 0, steps: int | None = None) -> None:
    """Watch a table of arithmetic being memorised, then solved; its weights stay for ask.

    Args:
        operation: One of + - * /.
        p: The modulus, a prime for division.
        seed: What draws weights, sets and batches.
        steps: How many, if not the study's.
    """
    keep_large_blocks()
    grokking = study_module("grokking")
    experiment = grokking.fast(operation, p, seed, steps)
    print(f"a {operation} b mod {p}: half of the table trains, the rest was never seen")
    for record in grokking.watch(experiment):
        if not record.scores:  # it diverged, and the error that follows says how
            continue
        shares = [record.scores[name].accuracy for name in ("train", "validation")]
        bars = [f"{'█' * round(20 * share):20} {share:4.0%}" for share in shares]
        tqdm.write(f"step {record.step:4}  training {bars[0]}   never seen {bars[1]}")
    a, b = min(5, p - 1), min(7, p - 1)
    print(f'now ask: python -m lmcore ask "{a} {operation} {b} mod {p}"')


def ask(question: Annotated[str, tyro.conf.Positional]) -> None:
    """Answer a question from the weights that live left, with the five likeliest answers.

    Args:
        question: For example "5 / 7 mod 97".
    """
    grokking = study_module("grokking")
    answers = grokking.ask(question)
    right = grokking.right_answer(question)
    for answer, probability in answers[:5]:
        print(f"{answer:4}  {probability:7.2%}{'  right' if answer == right else ''}")


def notebooks(small: bool = False) -> None:
    """Run every notebook from its .py and keep its outputs; figures are drawn anew on the way.

    Args:
        small: At smoke scale, from nothing, into .smoke.
    """
    try:
        from lmcore.report.execute import execute
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} is missing, and notebooks need it: pip install 'lmcore[notebooks]'"
        ) from None
    for source in sorted((workspace() / "notebooks").glob("*.py")):
        print(execute(source, "smoke" if small else "full"))


def readme() -> None:
    """Write the table of findings from the committed results into README.md."""
    path = workspace() / "README.md"
    write_text(path, with_findings(path.read_text(encoding="utf-8")))


def with_findings(text: str) -> str:
    """Return the README's text with its table made anew from the committed results."""
    groups: dict[str, list[Run]] = {}
    tables, every = [], []
    for name in filter(lambda name: is_trained(study_module(name)), STUDIES):
        module = study_module(name)
        runs = loaded(module.experiments())
        every += runs
        if hasattr(module, "findings"):
            tables.append(module.findings(runs).markdown())
            continue
        for run in runs:
            groups.setdefault(f"{name}: {run.config.name}", []).append(run)
    told = "\n\n".join([scores(groups).markdown(), ladder(every).markdown(), *tables])
    before, rest = text.split("-->\n", 1)
    after = rest[rest.index("<!-- /findings -->") :]
    return f"{before}-->\n{told}\n{after}"


def tell_cost(
    study: Study,
    runtime: Runtime = Runtime(),  # noqa: B008 - tyro reads its fields as options
) -> None:
    """Tell what a study's full-scale experiments cost: parameters, operations, memory, minutes.

    Args:
        study: Which study, by the name of its module in lmcore/studies.
        runtime: Device, precision and compilation to reckon with.
    """
    if not is_trained(study_module(study)):
        print(f"{study} trains no model")
        return
    named = {e.name: e for e in reversed(study_module(study).experiments())}
    for name, experiment in reversed(named.items()):
        runs = [e for e in study_module(study).experiments() if e.name == name]
        plan = experiment.train
        resolved = runtime.resolve(0)
        width, on_gpu = resolved.dtype.itemsize, resolved.device.startswith("cuda")
        print(f"\n{name}: {cost(runs, runtime)}\n")
        print(
            account(
                experiment.model, plan.batch_size, plan.optimizer.moments, width, on_gpu
            ).markdown()
        )


def list_studies() -> None:
    """List the studies and the question of each."""
    for name in STUDIES:
        print(f"{name:20} {study_module(name).__doc__.splitlines()[0]}")


def main() -> int:
    """Run the command line; a user's mistake is one line, not a traceback."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {
                "run": run,
                "live": live,
                "ask": ask,
                "notebooks": notebooks,
                "readme": readme,
                "studies": list_studies,
                "cost": tell_cost,
            },
            prog="lmcore",
            description=__doc__,
        )
    except (ValueError, DivergedError, MemoryError) as error:
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

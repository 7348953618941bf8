"""The front page and the box that opens each study's page: question, answer, cost and notebook.

Both are Markdown, written between two comments of a page, with numbers from committed results.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lmcore.experiments.experiment import RunConfig, workspace
from lmcore.experiments.run_folder import Run
from lmcore.experiments.runner import load_finished
from lmcore.experiments.study import Study
from lmcore.report.tables import Table, scores
from lmcore.studies import all_studies
from lmcore.studies.speedrun import experiments as speedrun
from lmcore.studies.speedrun.leaderboard import written_leaderboard

COLAB = "https://colab.research.google.com/github/lmcore/lmcore/blob/main"
ORDER = ("tokenizer", "baseline", "adamw_swap", "rope_and_vocab", "grokking", "stories", "named")
"""Studies come in the order in which a reader meets them; any other follows."""


def answered() -> dict[str, Study]:
    """Return the published studies that have an answer, in reading order."""
    studies = all_studies()
    names = [*ORDER, *(name for name in studies if name not in ORDER)]
    return {
        name: studies[name] for name in names if studies[name].answer and studies[name].is_published
    }


Finished = Mapping[RunConfig, Run]
"""Finished runs by their configs: loaded once, then read by every box, card and table."""


def finished_runs() -> Finished:
    """Return the finished runs of all published studies, of those they compare with, and races."""
    studies = [study for study in all_studies().values() if study.is_published]
    asked = [e for study in studies for e in (*study.experiments(), *study.compared_with())]
    asked += speedrun.all_experiments()
    return {run.config: run for run in load_finished(list(dict.fromkeys(asked)))}


def known(configs: Sequence[RunConfig], finished: Finished) -> list[Run]:
    """Return those runs of configs that are finished."""
    return [finished[config] for config in configs if config in finished]


def page_of(study: Study) -> str:
    """Return the name of a study's page in docs/."""
    return study.page or f"{study.name.replace('_', '-')}.md"


def notebook_of(study: Study) -> str:
    """Return the name of a study's notebook."""
    (path,) = (workspace() / "notebooks").glob(f"[0-9]*_{study.name}.ipynb")
    return path.name


def answer_of(study: Study, finished: Finished) -> str:
    """Return a study's answer with the numbers of its committed runs."""
    assert study.answer is not None  # as `answered` checks
    return study.answer(known([*study.experiments(), *study.compared_with()], finished))


def cost(study: Study, finished: Finished) -> str:
    """Return how many runs a study has, and their time in training."""
    runs = known(study.experiments(), finished)
    if not study.trains_models:
        return f"{len(runs)} measurements, no training"
    hours = sum(run.environment["training_s"] for run in runs) / 3600
    return f"{len(runs)} runs, {hours:.1f} hours of training together"


def badge(notebook: str, image: str) -> str:
    """Return a badge that opens a notebook in Colab."""
    return f"[![Open in Colab]({image})]({COLAB}/notebooks/{notebook})"


def box(study: Study, finished: Finished) -> str:
    """Return the box that opens a study's page."""
    notebook = notebook_of(study)
    links = f"**Notebook:** [{notebook}](../notebooks/{notebook}) {badge(notebook, 'colab.svg')}"
    return (
        f":::{{admonition}} {study.question}\n:class: tip\n{answer_of(study, finished)}\n\n"
        f"**Cost:** {cost(study, finished)}. {links}\n:::"
    )


def cards(studies: Sequence[Study], finished: Finished) -> str:
    """Return a card for each study, which leads to its page."""
    written = [
        f":::{{card}} {study.title}\n:link: {page_of(study)}\n**{study.question}**\n\n"
        f"{answer_of(study, finished)}\n:::"
        for study in studies
    ]
    return "\n".join(["::::{grid} 1 1 2 2", *written, "::::"])


def answer_table(studies: Sequence[Study], finished: Finished) -> Table:
    """Return question, answer and notebook of each study, for the README."""
    rows = []
    for study in studies:
        notebook = notebook_of(study)
        question = f"[{study.question}](docs/{page_of(study)})"
        rows.append((question, answer_of(study, finished), badge(notebook, "docs/colab.svg")))
    return Table(("question", "answer", "notebook"), tuple(rows))


def findings(studies: Sequence[Study], finished: Finished) -> str:
    """Return the tables of all findings, each in a fold: those of a study, then the shared one."""
    folds, groups = [], {}
    for study in studies:
        runs = known(study.experiments(), finished)
        if study.findings is not None:
            folds.append((study.title, study.findings(runs).markdown()))
        elif study.trains_models:
            for run in runs:
                name = f"{study.name}: {run.config.name}"
                groups[name] = [*groups.get(name, []), run]
    shared = ("The baseline, and the check on titles of known entropy", scores(groups).markdown())
    return "\n".join(f":::{{dropdown}} {title}\n{table}\n:::" for title, table in [shared, *folds])


def between(text: str, name: str, written: str) -> str:
    """Return text with what is between the two comments called name replaced.

    Raises:
        ValueError: the text lacks the comments.
    """
    start, end = f"<!-- {name}: written by `python -m lmcore readme` -->", f"<!-- /{name} -->"
    if start not in text or end not in text:
        raise ValueError(f"the page needs the comments {start} and {end}")
    before, rest = text.split(start, 1)
    return f"{before}{start}\n{written}\n{end}{rest.split(end, 1)[1]}"


def pages(finished: Finished) -> dict[Path, str]:
    """Return the pages that hold numbers of committed results, as they should read."""
    docs, studies, written = workspace() / "docs", list(answered().values()), {}
    for study in studies:
        path = docs / page_of(study)
        text = path.read_text(encoding="utf-8")
        written[path] = between(text, "box", box(study, finished))
    races = docs / page_of(all_studies()["grokking"])
    table = written_leaderboard(known(speedrun.all_experiments(), finished))
    written[races] = between(written[races], "leaderboard", table)
    index = docs / "index.md"
    text = between(index.read_text(encoding="utf-8"), "cards", cards(studies, finished))
    written[index] = between(text, "findings", findings(studies, finished))
    return written

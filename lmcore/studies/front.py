"""The front page and the box that opens each study's page: question, answer, cost and notebook.

Both are Markdown, written between two comments of a page, with numbers from committed results.
"""

from collections.abc import Sequence
from pathlib import Path

from lmcore.experiments.experiment import workspace
from lmcore.experiments.run_folder import Run
from lmcore.experiments.runner import load_finished
from lmcore.experiments.study import Study
from lmcore.report.tables import Table, scores
from lmcore.studies import all_studies

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


def runs_of(study: Study) -> list[Run]:
    """Return the finished runs of a study and of those that it compares with."""
    return load_finished([*study.experiments(), *study.compared_with()])


def page_of(study: Study) -> str:
    """Return the name of a study's page in docs/."""
    return study.page or f"{study.name.replace('_', '-')}.md"


def notebook_of(study: Study) -> str:
    """Return the name of a study's notebook."""
    (path,) = (workspace() / "notebooks").glob(f"[0-9]*_{study.name}.ipynb")
    return path.name


def answer_of(study: Study) -> str:
    """Return a study's answer with the numbers of its committed runs."""
    assert study.answer is not None  # as `answered` checks
    return study.answer(runs_of(study))


def cost(study: Study) -> str:
    """Return how many runs a study has, and their time in training."""
    runs = load_finished(study.experiments())
    if not study.trains_models:
        return f"{len(runs)} measurements, no training"
    hours = sum(run.environment["training_s"] for run in runs) / 3600
    return f"{len(runs)} runs, {hours:.1f} hours of training together"


def badge(notebook: str, image: str) -> str:
    """Return a badge that opens a notebook in Colab."""
    return f"[![Open in Colab]({image})]({COLAB}/notebooks/{notebook})"


def box(study: Study) -> str:
    """Return the box that opens a study's page."""
    notebook = notebook_of(study)
    links = f"**Notebook:** [{notebook}](../notebooks/{notebook}) {badge(notebook, 'colab.svg')}"
    return (
        f":::{{admonition}} {study.question}\n:class: tip\n{answer_of(study)}\n\n"
        f"**Cost:** {cost(study)}. {links}\n:::"
    )


def cards(studies: Sequence[Study]) -> str:
    """Return a card for each study, which leads to its page."""
    written = [
        f":::{{card}} {study.title}\n:link: {page_of(study)}\n**{study.question}**\n\n"
        f"{answer_of(study)}\n:::"
        for study in studies
    ]
    return "\n".join(["::::{grid} 1 1 2 2", *written, "::::"])


def answer_table(studies: Sequence[Study]) -> Table:
    """Return question, answer and notebook of each study, for the README."""
    rows = []
    for study in studies:
        notebook = notebook_of(study)
        question = f"[{study.question}](docs/{page_of(study)})"
        rows.append((question, answer_of(study), badge(notebook, "docs/colab.svg")))
    return Table(("question", "answer", "notebook"), tuple(rows))


def findings(studies: Sequence[Study]) -> str:
    """Return the tables of all findings, each in a fold: those of a study, then the shared one."""
    folds, groups = [], {}
    for study in studies:
        runs = load_finished(study.experiments())
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


def pages() -> dict[Path, str]:
    """Return the pages that hold numbers of committed results, as they should read."""
    docs, studies = workspace() / "docs", answered()
    written = {}
    for study in studies.values():
        path = docs / page_of(study)
        written[path] = between(path.read_text(encoding="utf-8"), "box", box(study))
    index = docs / "index.md"
    text = between(index.read_text(encoding="utf-8"), "cards", cards(list(studies.values())))
    written[index] = between(text, "findings", findings(list(studies.values())))
    return written

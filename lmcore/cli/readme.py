"""lmcore readme: bring findings, boxes of studies and maps of the package up to date."""

from lmcore.experiments.experiment import workspace
from lmcore.experiments.runner import load_finished
from lmcore.files import write_text
from lmcore.report.package_map import with_map
from lmcore.studies import all_studies, front
from lmcore.studies.headlines.tables import ladder


def run() -> None:
    """Write findings and package maps into README.md and the pages of the site."""
    path = workspace() / "README.md"
    write_text(path, with_map(with_findings(path.read_text(encoding="utf-8"))))
    page = workspace() / "docs/architecture.md"
    write_text(page, with_map(page.read_text(encoding="utf-8")))
    for page, text in front.pages().items():
        write_text(page, text)


def with_findings(text: str) -> str:
    """Return the README's text with its findings computed from the committed results."""
    studies = front.answered().values()
    trained = [study for study in all_studies().values() if study.trains_models]
    runs = [run for study in trained for run in load_finished(study.experiments())]
    written = [front.answer_table(list(studies)).markdown(), ladder(runs).markdown()]
    return front.between(text, "findings", "\n\n".join(written))

"""lmcore readme: bring findings, boxes of studies and maps of the package up to date."""

from lmcore.experiments.experiment import workspace
from lmcore.files import write_text
from lmcore.report.package_map import with_map
from lmcore.studies import front
from lmcore.studies.headlines.tables import ladder


def run() -> None:
    """Write findings and package maps into README.md and the pages of the site."""
    path, finished = workspace() / "README.md", front.finished_runs()
    if not path.exists():
        raise ValueError(f"{path} is missing: run this in a checkout of the repository")
    write_text(path, with_map(with_findings(path.read_text(encoding="utf-8"), finished)))
    page = workspace() / "docs/architecture.md"
    write_text(page, with_map(page.read_text(encoding="utf-8")))
    for page, text in front.pages(finished).items():
        write_text(page, text)


def with_findings(text: str, finished: front.Finished) -> str:
    """Return the README's text with its findings computed from the committed results."""
    answers = front.answer_table(list(front.answered().values()), finished).markdown()
    written = [answers, ladder(list(finished.values())).markdown()]
    return front.between(text, "findings", "\n\n".join(written))

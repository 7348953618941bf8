"""lmcore readme: bring the tables of findings and the maps of the package up to date."""

from collections.abc import Sequence

from lmcore.experiments.experiment import workspace
from lmcore.experiments.run_folder import Run
from lmcore.experiments.runner import load_finished
from lmcore.files import write_text
from lmcore.report.package_map import with_map
from lmcore.report.tables import scores
from lmcore.studies import all_studies
from lmcore.studies.headlines.tables import ladder


def run() -> None:
    """Write the findings and the map of the package into README.md and the architecture page."""
    path = workspace() / "README.md"
    write_text(path, with_map(with_findings(path.read_text(encoding="utf-8"))))
    page = workspace() / "docs/architecture.md"
    write_text(page, with_map(page.read_text(encoding="utf-8")))


def with_findings(text: str) -> str:
    """Return the README's text with its table of findings computed from the committed results."""
    groups: dict[str, Sequence[Run]] = {}
    tables, all_runs = [], []
    for name, study in all_studies().items():
        if not (study.trains_models and study.is_published):
            continue
        runs = load_finished(study.experiments())
        all_runs += runs
        if study.findings is not None:
            tables.append(study.findings(runs).markdown())
            continue
        for run in runs:
            shown = f"{name}: {run.config.name}"
            groups[shown] = [*groups.get(shown, []), run]
    written = "\n\n".join([scores(groups).markdown(), ladder(all_runs).markdown(), *tables])
    before, rest = text.split("-->\n", 1)
    after = rest[rest.index("<!-- /findings -->") :]
    return f"{before}-->\n{written}\n{after}"

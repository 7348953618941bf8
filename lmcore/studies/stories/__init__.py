"""Stories: one change at a time on a small model, and how real overfitting differs from a bug."""

from lmcore.experiments.study import Study
from lmcore.studies.stories import answer, claims, experiments, probes, tables

STUDY = Study(
    name="stories",
    description=experiments.__doc__ or "",
    experiments=experiments.all_experiments,
    probe=probes.probe,
    history=probes.history,
    check_claims=claims.check_claims,
    title="Stories",
    answer=answer.answer,
    findings=tables.findings,
)

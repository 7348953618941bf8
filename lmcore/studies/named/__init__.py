"""Named experiments: a published baseline and what a dozen changes to it bring."""

from lmcore.experiments.study import Study
from lmcore.studies.named import answer, claims, experiments, probes, tables

STUDY = Study(
    name="named",
    description=experiments.__doc__ or "",
    experiments=experiments.all_experiments,
    probe=probes.probe,
    check_claims=claims.check_claims,
    smoke=experiments.small,
    findings=tables.findings,
    title="Named experiments",
    page="named-experiments.md",
    answer=answer.answer,
)

"""AdamW in the place of SGD, each tuned over as many runs."""

from lmcore.experiments.study import Study
from lmcore.studies.adamw_swap import answer, claims, experiments, probes, tables

STUDY = Study(
    name="adamw_swap",
    description=experiments.__doc__ or "",
    experiments=experiments.all_experiments,
    compared_with=experiments.compared_with,
    probe=probes.probe,
    findings=tables.findings,
    check_claims=claims.check_claims,
    title="The AdamW swap",
    answer=answer.answer,
)

"""Grokking: a small transformer that memorises a table of arithmetic, then solves it."""

from lmcore.experiments.study import Study
from lmcore.studies.grokking import answer, claims, experiments, probes, tables

STUDY = Study(
    name="grokking",
    description=experiments.__doc__ or "",
    experiments=experiments.all_experiments,
    probe=probes.probe,
    history=probes.history,
    findings=tables.findings,
    check_claims=claims.check_claims,
    title="Grokking",
    answer=answer.answer,
)

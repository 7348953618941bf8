"""Rotary positions, attention within titles and vocabulary sizes on headlines."""

from lmcore.experiments.study import Study
from lmcore.studies.rope_and_vocab import answer, claims, experiments, probes, tables

STUDY = Study(
    name="rope_and_vocab",
    description=experiments.__doc__ or "",
    experiments=experiments.all_experiments,
    compared_with=experiments.compared_with,
    probe=probes.probe,
    findings=tables.findings,
    check_claims=claims.check_claims,
    title="RoPE and vocabulary size",
    answer=answer.answer,
)

"""A small GPT on headlines with plain SGD, as the challenge trains it."""

from lmcore.experiments.study import Study
from lmcore.studies.baseline import answer, claims, experiments, probes

STUDY = Study(
    name="baseline",
    description=experiments.__doc__ or "",
    experiments=experiments.all_experiments,
    probe=probes.probe,
    check_claims=claims.check_claims,
    title="The baseline",
    answer=answer.answer,
)

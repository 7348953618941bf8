"""The ladder from the baseline to the lowest loss in seven epochs, on a proxy first."""

from lmcore.experiments.study import Study
from lmcore.studies.adamw_swap.probes import probe
from lmcore.studies.record import claims, experiments

STUDY = Study(
    name="record",
    description=experiments.__doc__ or "",
    experiments=experiments.all_experiments,
    probe=probe,
    check_claims=claims.check_claims,
    is_published=False,
)

"""How fast a table of arithmetic is solved, over hundreds of seeds."""

from lmcore.experiments.study import Study
from lmcore.studies.speedrun import claims, experiments, runner

STUDY = Study(
    name="speedrun",
    description=experiments.__doc__ or "",
    experiments=experiments.all_experiments,
    measure=runner.run_all,
    smoke=experiments.smoke,
    config_type=experiments.Race,
    check_claims=claims.check_claims,
    is_published=False,
)

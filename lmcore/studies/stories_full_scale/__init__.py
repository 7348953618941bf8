"""All of TinyStories on one GPU: ready to run, and not run yet."""

from lmcore.experiments.study import Study
from lmcore.studies.stories.probes import history, probe
from lmcore.studies.stories_full_scale import experiments

STUDY = Study(
    name="stories_full_scale",
    description=experiments.__doc__ or "",
    experiments=experiments.all_experiments,
    probe=probe,
    history=history,
    check_claims=lambda runs: None,
    is_published=False,
)

"""Byte-level BPE on texts of several kinds: what it gains, what it loses, what it costs.

This study trains no model, so its experiments are surveys of texts. It uses the same run folders
as the other studies.
"""

from lmcore.experiments.study import Study
from lmcore.studies.tokenizer import answer, claims, experiments, runner

STUDY = Study(
    name="tokenizer",
    description=experiments.__doc__ or "",
    experiments=experiments.all_experiments,
    measure=runner.run_all,
    smoke=experiments.smoke,
    config_type=experiments.Survey,
    check_claims=claims.check_claims,
    title="The tokenizer",
    answer=answer.answer,
)

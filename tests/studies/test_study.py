"""What every study has: a package that defines it, a question, and claims that hold."""

import pkgutil

import pytest

from lmcore import studies
from lmcore.experiments.study import Study
from lmcore.studies import all_studies, study_called

STUDIES = all_studies()

every_study = pytest.mark.parametrize("name", STUDIES)


def test_studies_are_the_packages_with_experiments_under_their_own_names():
    packages = [module.name for module in pkgutil.iter_modules(studies.__path__) if module.ispkg]
    with_experiments = [
        name
        for name in packages
        if any(
            module.name == "experiments"
            for module in pkgutil.iter_modules([f"{studies.__path__[0]}/{name}"])
        )
    ]
    assert sorted(STUDIES) == sorted(with_experiments)


@every_study
def test_a_study_s_experiments_carry_its_name_and_its_kind_of_config(name):
    study = STUDIES[name]
    assert {experiment.study for experiment in study.experiments()} == {name}
    assert {type(experiment) for experiment in study.experiments()} == {study.config_type}


@every_study
def test_a_study_asks_a_question_and_says_what_is_varied(name):
    study = STUDIES[name]
    assert study.question.endswith("?")
    for part in ("Hypothesis:", "Scientific", "Nuisance", "Fixed"):
        assert f"\n{part}" in study.description


@every_study
def test_what_the_text_claims_holds_on_the_committed_runs(name, committed_runs):
    study, by_config = STUDIES[name], {run.config: run for run in committed_runs}
    asked = [*study.experiments(), *study.compared_with()]
    study.check_claims([by_config[experiment] for experiment in asked if experiment in by_config])


def test_an_unknown_study_is_an_error_that_lists_those_that_exist():
    with pytest.raises(ValueError, match=r"no study 'headlines'; choose one of: adamw_swap, "):
        study_called("headlines")


@pytest.mark.parametrize("parts", [{}, {"probe": lambda *_: {}, "measure": lambda *_: []}])
def test_a_study_needs_either_a_probe_or_a_measure(parts):
    with pytest.raises(ValueError, match="study mine needs either a probe or a measure"):
        Study(
            name="mine",
            description="Why?",
            experiments=list,
            check_claims=lambda runs: None,
            **parts,
        )

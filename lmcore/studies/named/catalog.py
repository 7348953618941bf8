"""The named experiments as the command line and notebooks list and run them."""

from typing import Literal

from lmcore.experiments.catalog import Catalog
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.study import Study
from lmcore.studies.named import STUDY
from lmcore.studies.named.experiments import CHANGES, GROUPS, named, scaled, scaled_name

Scale = Literal["published", "quarter", "eighth", "smoke"]
"""Published size, a part of it, or seconds on generated text."""


def catalog() -> Catalog:
    """Return the named experiments at their published size."""
    return Catalog(
        experiments={name: named(name) for name in CHANGES},
        study=STUDY,
        descriptions={name: change.description for name, change in CHANGES.items()},
        groups=GROUPS,
    )


def at_scale(experiment: Experiment, scale: Scale, study: Study = STUDY) -> Experiment:
    """Return experiment at a scale; a study says what its small version is."""
    if scale == "published":
        return experiment
    if scale != "smoke":
        return scaled(experiment, scale)
    small = study.smoke(experiment)
    assert isinstance(small, Experiment), "a catalog's study trains models"
    return small


def prefix_of(scale: Scale) -> str:
    """Return what names of this scale begin with."""
    return "" if scale in ("published", "smoke") else scaled_name("", scale)

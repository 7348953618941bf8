"""Exercises of a notebook: the small version of an experiment, as it is and with a change."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lmcore.config import config_hash, with_fields
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.study import Study
from lmcore.report.tables import Table, scores


def small_pair(
    study: Study, experiment: Experiment, changes: Mapping[str, Any]
) -> dict[str, Experiment]:
    """Return the small version of experiment as it is and changed, by the column that shows it.

    Each has a name made of its config, so that another change is another run.
    """
    small = study.smoke(experiment)
    assert isinstance(small, Experiment)
    pair = {"as it is": small, "changed": with_fields(small, dict(changes))}
    return {shown: replace(one, name=f"exercise-{config_hash(one)}") for shown, one in pair.items()}


def try_change(study: Study, experiment: Experiment, changes: Mapping[str, Any]) -> Table:
    """Return the scores of the small version of experiment with and without changes.

    Both are trained on generated titles, which takes seconds; changes are values by the dotted
    names of their fields.
    """
    pair = small_pair(study, experiment, changes)
    runs = study.run(list(pair.values()))
    return scores({shown: [run] for shown, run in zip(pair, runs, strict=True)})

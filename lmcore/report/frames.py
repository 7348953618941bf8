"""Runs as a pandas frame: one row for each run, numbers as numbers."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lmcore.config import flat_fields
from lmcore.evaluation.score_types import Answers, Score
from lmcore.experiments.run_folder import Run

IDENTITY = ("study", "name", "seed")
RATES = {
    kind: [name for name, value in vars(kind).items() if isinstance(value, property)]
    for kind in (Score, Answers)
}
"""The names of the rates that each kind of score has."""


def runs_frame(runs: Sequence[Run], every_field: bool = False) -> pd.DataFrame:
    """Return a frame with a row for each run.

    Columns are study, name and seed; each config field in which runs differ, or with every_field
    all of them, by its dotted name;
    the length; the rates of each score after the last step and of the test, such as
    `validation.bpb`; time, memory, parameters and commit. What a run lacks is NaN. A run on a text
    has the name of its folder and the study `text`, and the scores of the weights that it saved.
    An unfinished run has its newest scores.
    """
    fields = _fields(runs, every_field)
    return pd.DataFrame([_identity(run) | values | _measured(run) for run, values in fields])


def _identity(run: Run) -> dict[str, Any]:
    of_text = {"study": "text", "name": run.folder.name}  # a run on a text has no such fields
    return {name: getattr(run.config, name, of_text.get(name)) for name in IDENTITY}


def _fields(runs: Sequence[Run], every_field: bool) -> list[tuple[Run, dict[str, Any]]]:
    """Return each run with its values of the config fields in which runs differ, or of all."""
    configs = [flat_fields(run.config) for run in runs]
    names = dict.fromkeys(name for config in configs for name in config if name not in IDENTITY)
    differing = [
        n for n in names if every_field or len({repr(config.get(n)) for config in configs}) > 1
    ]
    return [
        (run, {name: config.get(name) for name in differing})
        for run, config in zip(runs, configs, strict=True)
    ]


def _measured(run: Run) -> dict[str, Any]:
    """Return what a run measured: length, rates, cost, and the commit of its code."""
    last = run.records[-1]
    out = {"is_finished": bool(run.outcome), "step": last["step"], "tokens": last.get("tokens")}
    newest = last if run.outcome else {n: v for record in run.records for n, v in record.items()}
    for kind, score in (newest | run.outcome).items():
        out |= {f"{kind}.{rate}": getattr(score, rate) for rate in RATES.get(type(score), ())}
    out |= {name: run.environment.get(name) for name in ("training_s", "cpu_s", "peak_bytes")}
    model = getattr(run.config, "model", None)
    sessions = run.environment.get("sessions", [])
    return out | {
        "n_parameters": model and model.n_parameters,
        "stop_reason": last.get("stop_reason"),
        "commit": sessions[-1]["commit"] if sessions else None,
    }

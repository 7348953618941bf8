"""Experiments side by side: what they cost, what they reached, and what one change brought."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lmcore.config import flat_fields
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.run_folder import Run
from lmcore.files import write_text
from lmcore.report.tables import Number, Table, mean_sd, number, select, validation

IDENTITY = ("study", "name", "seed", "scale")


def names_of(runs: Iterable[Run]) -> list[str]:
    """Return the names of runs that did not diverge, in order."""
    return list(dict.fromkeys(run.config.name for run in runs if "diverged" not in run.outcome))


def bits_per_byte(run: Run) -> float:
    """Return the score of a run on its validation text after the last step."""
    return validation(run).bpb


def comparison(runs: Sequence[Run], baseline: str | None = None) -> Table:
    """Return a row for each experiment: seeds, parameters, scores in bits per byte, cost.

    The difference from the experiment called baseline is taken seed by seed, so that what a seed
    does to both does not count; it is 0 if the baseline is not among runs. A run that diverged is
    counted and has no scores.
    """
    rows = []
    for name in dict.fromkeys(run.config.name for run in runs):
        own = select(runs, name)
        scored = [run for run in own if "diverged" not in run.outcome]
        diverged = len(own) - len(scored)
        seeds = Number(f"{len(own)}" + (f", {diverged} diverged" if diverged else ""), len(own))
        changes = differences(runs, name, baseline) if baseline else []
        rows.append(
            (
                name,
                seeds,
                number(own[0].config.model.n_parameters),
                mean_sd([bits_per_byte(run) for run in scored] or [None], 4),
                signed(mean_sd(changes or [None], 4)) if baseline else number(math.nan, ""),
                mean_sd([run.outcome["test"].bpb for run in scored] or [None], 4),
                number(round(statistics.fmean(run.records[-1]["tokens"] for run in own))),
                mean_sd([run.environment["training_s"] for run in own], 1),
            )
        )
    header = (
        "experiment", "seeds", "parameters", "validation, bits/byte", f"against {baseline}",
        "test, bits/byte", "tokens", "training, s",
    )  # fmt: skip
    if baseline is None:
        header, rows = header[:4] + header[5:], [row[:4] + row[5:] for row in rows]
    return Table(header, tuple(rows))


def signed(cell: Number) -> Number:
    """Return a cell with a sign, which differences have."""
    if cell.value == 0:
        return Number("0", 0.0, cell.sd)
    text = cell if cell.startswith(("-", "none")) else f"+{cell}"
    return Number(text.replace("-", "−", 1), cell.value, cell.sd)


def differences(runs: Sequence[Run], name: str, baseline: str) -> list[float]:
    """Return the bits per byte of an experiment minus the baseline's, for each seed of both."""
    by_seed = {run.config.seed: bits_per_byte(run) for run in select(runs, baseline)}
    return [
        bits_per_byte(run) - by_seed[run.config.seed]
        for run in select(runs, name)
        if run.config.seed in by_seed and "diverged" not in run.outcome
    ]


def pareto(costs: Sequence[int | float], losses: Sequence[float]) -> list[int]:
    """Return the places of the points that no other point beats in cost and loss, by cost."""
    order = sorted(range(len(costs)), key=lambda place: (costs[place], losses[place]))
    best, front = math.inf, []
    for place in order:
        if losses[place] < best:
            best = losses[place]
            front.append(place)
    return front


def at_cost(run: Run, seconds_per_step: float, budget_s: float) -> float:
    """Return a run's bits per byte after budget_s of so many seconds a step.

    Between evaluations it is interpolated over the logarithm of steps; the run must be long enough,
    else it is nan. Only a constant learning rate makes this the score of a shorter run.
    """
    points = [(r["step"], r["validation"].bpb) for r in run.records if "validation" in r]
    steps, values = zip(*[point for point in points if point[0]], strict=True)
    step = budget_s / seconds_per_step
    if math.isclose(step, steps[-1]):  # its own time, but for rounding
        step = steps[-1]
    if not steps[0] <= step <= steps[-1]:
        return math.nan
    return float(np.interp(math.log(step), np.log(steps), values))


def plan(experiments: Sequence[Experiment]) -> Table:
    """Return a row for each experiment: parameters, memory and operations, before it is run."""
    rows = []
    for experiment in experiments:
        memory = memory_bytes(experiment)
        rows.append(
            (
                experiment.name,
                number(experiment.model.n_parameters),
                number(memory / 1e9, ".2f"),
                number(experiment.model.flops_per_token / 1e6, ",.1f"),
            )
        )
    return Table(("experiment", "parameters", "memory, GB", "MFLOP a token"), tuple(rows))


def memory_bytes(experiment: Experiment) -> int:
    """Return the bytes that a training step of experiment needs, on a CPU in float32."""
    from lmcore.model import accounting

    tokens = experiment.train.batch_size * experiment.model.context_length
    moments = experiment.train.optimizer.moments
    return accounting.training_memory(experiment.model, tokens, moments=moments).total


def changed_fields(baseline: Experiment, experiment: Experiment) -> Table:
    """Return the fields in which experiment differs from baseline, with both values."""
    before, after = flat_fields(baseline), flat_fields(experiment)
    rows = [
        (name, str(before.get(name, "")), str(value))
        for name, value in after.items()
        if name not in IDENTITY and before.get(name) != value
    ]
    return Table(("field", baseline.name, experiment.name), tuple(rows))


def configuration(experiment: Experiment) -> Table:
    """Return every field of experiment with its value."""
    return Table(
        ("field", "value"),
        tuple((name, str(value)) for name, value in flat_fields(experiment).items()),
    )


def write_comparison(folder: Path, runs: Sequence[Run], baseline: str | None = None) -> list[Path]:
    """Write the comparison of runs to folder as Markdown and as CSV with unrounded numbers."""
    table = comparison(runs, baseline)
    write_text(folder / "comparison.md", table.markdown() + "\n")
    write_text(folder / "comparison.csv", table.frame().to_csv(index=False))
    return [folder / "comparison.md", folder / "comparison.csv"]


def spread(values: Sequence[int | float]) -> tuple[int | float, int | float, int | float]:
    """Return mean, least and greatest of values."""
    return statistics.fmean(values), min(values), max(values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """A loss as scale * size^-exponent, fitted on logarithms, with the fit's standard error."""

    scale: float
    exponent: float
    exponent_error: float
    """Standard error of the exponent; nan for two points, through which any line goes."""

    def at(self, size: int | float) -> float:
        """Return the loss at a size."""
        return self.scale * size**-self.exponent


def power_law(sizes: Sequence[int | float], losses: Sequence[float]) -> PowerLaw:
    """Return the power law through losses at sizes, by least squares on logarithms.

    Raises:
        ValueError: there are fewer than two different sizes.
    """
    if len(set(sizes)) < 2:
        raise ValueError(f"a line needs two different sizes, not {sorted(set(sizes))}")
    x, y = np.log(np.array(sizes)), np.log(np.array(losses))
    slope, intercept = np.polyfit(x, y, 1)
    left = y - (slope * x + intercept)
    error = math.nan
    if len(x) > 2:
        variance = float((left**2).sum()) / (len(x) - 2)
        error = math.sqrt(variance / float(((x - x.mean()) ** 2).sum()))
    return PowerLaw(scale=math.exp(intercept), exponent=-float(slope), exponent_error=error)

"""lmcore cost: parameters, operations, memory and minutes of a study."""

from lmcore.cli.arguments import StudyName
from lmcore.cli.run import one_seed_of_each
from lmcore.experiments.cost import cost
from lmcore.experiments.experiment import Experiment
from lmcore.report.tables import Table, model_costs
from lmcore.studies import study_called
from lmcore.training.runtime import Runtime


def run(
    study: StudyName,
    runtime: Runtime = Runtime(),  # noqa: B008 - tyro reads its fields as options
) -> None:
    """Print what a study's experiments cost: parameters, operations, memory, minutes.

    Args:
        study: The study's name.
        runtime: Device, precision and compilation of the estimate.
    """
    trained = [e for e in study_called(study).experiments() if isinstance(e, Experiment)]
    if not trained:
        print(f"{study} trains no model")
    for experiment in one_seed_of_each(trained):
        runs = [e for e in trained if e.name == experiment.name]
        print(f"\n{experiment.name}: {cost(runs, runtime)}\n")
        print(account_of(experiment, runtime).markdown())


def account_of(experiment: Experiment, runtime: Runtime) -> Table:
    """Return what one step of an experiment costs, part by part."""
    resolved = runtime.resolve(0)
    return model_costs(
        experiment.model,
        experiment.train.batch_size,
        experiment.train.optimizer.moments,
        resolved.dtype.itemsize,
        resolved.device.startswith("cuda"),
    )

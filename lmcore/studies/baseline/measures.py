"""The lowest loss that a model can reach on generated titles."""

from lmcore.data import grammar
from lmcore.experiments.experiment import Experiment
from lmcore.tasks.titles import TitlesConfig, joined, split_titles, titles_of


def entropy_floor(experiment: Experiment) -> float:
    """Return the grammar's score on the validation titles of experiment, in nats per character.

    No model is expected to score lower.

    Raises:
        ValueError: the titles are real, so their entropy is unknown.
    """
    config = experiment.task
    if not isinstance(config, TitlesConfig) or config.source != "generated":
        raise ValueError(f"{experiment.path} reads real titles, whose entropy is unknown")
    titles = split_titles(titles_of(config, None)[0], config)["validation"]
    return grammar.surprise(titles) / len(joined(titles))

"""A study: one question, the experiments that answer it, and what is read from their runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from lmcore.experiments import runner
from lmcore.experiments.experiment import Experiment, RunConfig, smoke
from lmcore.experiments.run_folder import Run
from lmcore.experiments.runner import History, Probe
from lmcore.files import require_file_name
from lmcore.training.runtime import Runtime

Measure = Callable[[Sequence[Any], Path | None], list[Run]]
"""What returns the runs of configs without training, from the texts in a folder."""


class Markdown(Protocol):
    """A table that can be written as Markdown."""

    def markdown(self) -> str:
        """Return the table as Markdown."""
        ...


def nothing() -> Sequence[RunConfig]:
    """Return no experiments."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study as the command line, the notebooks and the tests see it."""

    name: str
    """The name of its package, its run folders and its command."""
    description: str
    """The question in one line, then the hypothesis and what is varied."""
    experiments: Callable[[], Sequence[RunConfig]]
    """Every experiment of the study, in the order in which they run."""
    check_claims: Callable[[Sequence[Run]], None]
    """Asserts what the text says, on runs of `experiments` and of `compared_with`."""
    compared_with: Callable[[], Sequence[RunConfig]] = nothing
    """Experiments of other studies that its claims and tables compare with."""
    probe: Probe | None = None
    """What is kept of a trained model beside its scores."""
    history: History | None = None
    """What is kept of the weights that were saved during training; None keeps nothing."""
    measure: Measure | None = None
    """What runs a study that trains no model, in place of `probe`."""
    findings: Callable[[Sequence[Run]], Markdown] | None = None
    """The study's table on the front page; None puts its scores into the table studies share."""
    title: str = ""
    """The title of its page."""
    page: str = ""
    """The file of its page in docs/; without one, the study's name with dashes."""
    answer: Callable[[Sequence[Run]], str] | None = None
    """The answer in two or three sentences of Markdown, with numbers read from runs of
    `experiments` and of `compared_with`; None leaves the study out of the front page."""
    smoke: Callable[[Any], RunConfig] = smoke
    """The small version of an experiment, which takes seconds."""
    config_type: type[RunConfig] = Experiment
    """What its run folders hold as their config."""
    figures: Mapping[str, Callable[[Sequence[Run]], Any]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """Functions from runs to a matplotlib figure by label, for a comparison of a user's study."""
    is_published: bool = True
    """Whether it has a notebook and a place in the README; False while its runs are being made."""

    def __post_init__(self):
        require_file_name("study", self.name)
        if (self.probe is None) == (self.measure is None):
            raise ValueError(f"study {self.name} needs either a probe or a measure, and not both")

    @property
    def question(self) -> str:
        """The question in one line."""
        return self.description.splitlines()[0]

    @property
    def trains_models(self) -> bool:
        """Whether its runs are trained models."""
        return self.measure is None

    def run(
        self,
        experiments: Sequence[Any],
        *,
        runtime: Runtime | None = None,
        data: Path | None = None,
        scratch: Path | None = None,
    ) -> list[Run]:
        """Return the run of each experiment: loaded if it is finished, otherwise made now.

        Raises:
            ValueError: a text or a folder is missing, damaged or of another config.
        """
        if self.measure is not None:
            return self.measure(experiments, data)
        assert self.probe is not None  # as __post_init__ checked
        return runner.run_all(
            list(experiments),
            self.probe,
            history=self.history,
            runtime=runtime,
            data=data,
            scratch=scratch,
        )

"""Named experiments: everything that decides a run's numbers, and small versions for tests."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lmcore.boundary import Natural, convert_fields
from lmcore.config import with_fields
from lmcore.files import require_file_name
from lmcore.model.config import ModelConfig
from lmcore.tasks.file_text import FileTextConfig
from lmcore.tasks.modular import ModularConfig
from lmcore.tasks.protocols import Data, Task
from lmcore.tasks.sentence import SentenceConfig
from lmcore.tasks.stories import StoriesConfig
from lmcore.tasks.titles import TitlesConfig
from lmcore.training.config import TrainConfig

SHORT_WARMUP = 20
"""The most warmup steps of a small version."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What names a run and its folder. A study adds the fields that decide the run's numbers."""

    study: str
    """The study that the run belongs to."""
    name: str
    """The name that runs with other seeds share."""
    seed: Natural
    """The seed of everything that is drawn."""
    scale: Literal["full", "smoke"] = "full"
    """Whether this is the experiment itself or its small version, which takes seconds."""

    def __post_init__(self):
        convert_fields(self)
        require_file_name("study", self.study)
        require_file_name("experiment", self.name)

    @property
    def path(self) -> Path:
        """The run's folder, relative to a folder of results."""
        return Path(self.study) / self.name / f"seed{self.seed}"

    @property
    def root(self) -> Path:
        """The folder that holds all of this scale: the workspace, or .smoke, which git ignores."""
        return workspace() / (".smoke" if self.scale == "smoke" else "")


@dataclass(frozen=True, kw_only=True)
class Experiment(RunConfig):
    """A model that is trained on a task: everything that decides the run's numbers."""

    task: TitlesConfig | ModularConfig | SentenceConfig | StoriesConfig | FileTextConfig
    model: ModelConfig
    train: TrainConfig

    def __post_init__(self):
        super().__post_init__()
        if self.task.vocab_size != self.model.vocab_size:
            raise ValueError(
                f"the task has a vocabulary of {self.task.vocab_size}, "
                f"the model one of {self.model.vocab_size}"
            )
        if self.train.within_documents and not isinstance(self.task, TitlesConfig | FileTextConfig):
            raise ValueError(
                f"within_documents has no effect with a {type(self.task).__name__}, which has no "
                "documents: leave it out"
            )


def smoke(experiment: Experiment) -> Experiment:
    """Return the small version of experiment, which takes seconds.

    The task says what shrinks: data, model sizes and the length of training. Warmup is cut to
    SHORT_WARMUP steps. The task's learning rate is for SGD; other optimizers keep theirs.
    """
    task, shape, plan = experiment.task.small()
    plan.setdefault("warmup_steps", min(experiment.train.schedule.warmup_steps, SHORT_WARMUP))
    if experiment.train.optimizer.kind != "sgd":
        plan.pop("lr", None)
    model, train = replace(experiment.model, **shape), with_fields(experiment.train, plan)
    return replace(experiment, task=task, model=model, train=train, scale="smoke")


def workspace() -> Path:
    """Return the repository that holds the working directory, or that directory itself."""
    here = Path.cwd()
    return next((up for up in (here, *here.parents) if (up / "myst.yml").exists()), here)


def seeded(experiments: Sequence[Experiment], seeds: Sequence[int]) -> list[Experiment]:
    """Return all experiments with all seeds."""
    return [replace(experiment, seed=seed) for experiment in experiments for seed in seeds]


def slug(name: str) -> str:
    """Return a name in the form that paths have."""
    return name.replace(", ", "-").replace(" ", "-").lower()


def prepared(
    experiment: Experiment, cache: Path, data: Path | None = None, progress: bool = False
) -> Data:
    """Return the data of experiment, prepared in cache or read from there."""
    corpus = experiment.task.prepare(cache, data, progress)
    is_within = experiment.train.within_documents
    return replace(corpus, within_documents=True) if is_within else corpus


def task_of(experiment: Experiment, corpus: Data) -> Task:
    """Return the task of experiment: batches and scores from its corpus."""
    plan = experiment.train
    return corpus.source(
        batch_size=plan.batch_size,
        context_length=experiment.model.context_length,
        order=plan.order,
        seed=experiment.seed,
    )


def steps_of(experiment: Experiment, source: Task) -> int:
    """Return the number of optimizer steps of experiment on source."""
    tokens_per_step = experiment.train.batch_size * experiment.model.context_length
    return experiment.train.planned_steps(source, tokens_per_step)


def flops_per_step(experiment: Experiment) -> int:
    """Return the floating-point operations of one optimizer step of experiment."""
    tokens_per_step = experiment.train.batch_size * experiment.model.context_length
    return tokens_per_step * experiment.model.flops_per_token

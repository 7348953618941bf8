"""Trackers: a run's records go to Weights & Biases, TensorBoard or trackio while it trains.

Each package is an extra, imported when its tracker is opened.
"""

import dataclasses
import importlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from lmcore.boundary import checked
from lmcore.training.records import Record

TrackerKind = Literal["wandb", "tensorboard", "trackio"]

PROJECT = "lmcore"
"""The project that runs belong to where the tracker's own settings name none."""
RATES = ("loss", "bpb", "nats_per_character", "accuracy")
"""What is tracked of a score, where it has it."""


@runtime_checkable
class Tracker(Protocol):
    """What takes numbers by name after a step."""

    def log(self, numbers: Mapping[str, int | float], step: int) -> None:
        """Take the numbers known after a step."""
        ...

    def finish(self) -> None:
        """Send or write what is left."""
        ...


def tracked(records: Iterable[Record], tracker: Tracker) -> Iterator[Record]:
    """Yield records, each once tracker has it. The tracker finishes with them, also on an error.

    Example:
        tracker = open_tracker("tensorboard", "runs/first")
        for record in tracked(train(model, config, task), tracker): print(record.step)
    """
    try:
        for record in records:
            tracker.log(numbers_of(record), record.step)
            yield record
    finally:
        tracker.finish()


def numbers_of(record: Record) -> dict[str, int | float]:
    """Return the numbers of a record by name, such as train/loss and validation/bpb."""
    known = {
        "train/loss": record.loss,
        "train/lr": record.lr,
        "train/grad_norm": record.grad_norm,
        "train/weight_norm": record.weight_norm,
        "train/tokens": record.tokens,
        "train/elapsed_s": record.elapsed_s,
    }
    known |= {f"update_ratio/{group}": r for group, r in (record.update_ratios or {}).items()}
    for name, score in record.scores.items():
        known |= {f"{name}/{rate}": getattr(score, rate, None) for rate in RATES}
    known |= {f"metrics/{name}": value for name, value in record.metrics.items()}
    return {name: value for name, value in known.items() if value is not None}


@checked
def open_tracker(
    kind: TrackerKind,
    folder: str | Path,
    *,
    config: Any = None,
    run_id: str | None = None,
) -> Tracker:
    """Return the tracker of a run that has this folder, whose name it carries.

    TensorBoard and Weights & Biases write into the folder. config is a dataclass, shown with the
    run. With the run_id of an earlier call the same run goes on.

    Raises:
        ValueError: there is no such tracker, its package is not installed, or it cannot start.
    """
    require_tracker(kind)
    folder, fields = Path(folder), {} if config is None else dataclasses.asdict(config)
    name = folder.resolve().name
    if kind == "tensorboard":
        return _TensorBoard(folder / "tensorboard", fields)
    try:
        if kind == "trackio":
            return _Trackio(name, fields, run_id)
        return _Wandb(name, folder, fields, run_id)
    except Exception as error:  # their errors have no common class
        hint = "wandb login, or WANDB_MODE=offline" if kind == "wandb" else "check its settings"
        raise ValueError(f"{kind} cannot start ({str(error).splitlines()[0]}): {hint}") from None


def require_tracker(kind: TrackerKind) -> None:
    """Raise ValueError if the package of this kind of tracker is not installed."""
    try:
        missing = None if importlib.import_module(kind).__file__ else kind  # only a folder's name
    except ModuleNotFoundError as error:
        missing = error.name
    if missing:
        raise ValueError(f"tracking with {kind} needs {missing}: pip install 'lmcore[{kind}]'")


class _Wandb:
    """Weights & Biases. WANDB_MODE=offline keeps the run in its folder until `wandb sync`."""

    def __init__(self, name: str, folder: Path, fields: dict[str, Any], run_id: str | None):
        wandb = importlib.import_module("wandb")
        folder.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project=wandb.setup().settings.project or PROJECT,
            name=name,
            dir=str(folder),
            config=fields,
            id=run_id,
            resume="allow",
        )

    def log(self, numbers: Mapping[str, int | float], step: int) -> None:
        self.run.log(dict(numbers), step=step)

    def finish(self) -> None:
        self.run.finish()


class _Trackio:
    """trackio, which keeps runs in its own folder and shows them with `trackio show`."""

    def __init__(self, name: str, fields: dict[str, Any], run_id: str | None):
        self.trackio = importlib.import_module("trackio")
        name = name if run_id is None else f"{name}-{run_id}"
        self.trackio.init(project=PROJECT, name=name, config=fields, resume="allow")

    def log(self, numbers: Mapping[str, int | float], step: int) -> None:
        self.trackio.log(dict(numbers), step=step)

    def finish(self) -> None:
        self.trackio.finish()


class _TensorBoard:
    """TensorBoard's event files. A resumed run's steps replace the same and later ones there."""

    def __init__(self, folder: Path, fields: dict[str, Any]):
        self.folder, self.fields, self.writer = folder, fields, None

    def log(self, numbers: Mapping[str, int | float], step: int) -> None:
        if self.writer is None:
            module = importlib.import_module("torch.utils.tensorboard")
            self.writer = module.SummaryWriter(str(self.folder), purge_step=step)
            self.writer.add_text("config", str(self.fields), step)
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        if self.writer is not None:
            self.writer.close()

"""Checkpoints: model, optimizer, random states and step, in a file that holds no code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmcore.evaluation.logits import device_of
from lmcore.training.identity import hash_of
from lmcore.training.state_file import DamagedError, PathOrFile, read_state, write_state

SHAPED = (
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "velocity", "sum",
    "square_avg", "grad_avg", "acc_delta", "prev", "step_size", "ax", "slow_gradient",
)  # fmt: skip
"""States of torch's optimizers and ours that have the shape of their parameter."""
GENERATORS = {"cuda": torch.cuda, "mps": torch.mps}
"""What holds the random state of a device beside the CPU's."""
N_CHECKPOINTS = 2
"""How many of the newest checkpoints stay in a run's folder."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run of `train` has come.

    elapsed_s counts training alone. Early stopping continues from the best_ fields,
    n_without_improvement and n_accurate. stop_reason is set if a run ended before its planned
    length.
    """

    step: int
    elapsed_s: float
    precision: str
    best_step: int = 0
    best_value: float | None = None
    n_without_improvement: int = 0
    n_accurate: int = 0
    stop_reason: str | None = None


def save_checkpoint(
    path_or_file: PathOrFile, model: nn.Module, optimizer: torch.optim.Optimizer, step: int
) -> None:
    """Write model, optimizer, torch's random states and step to a file.

    Any torch optimizer will do, and so will weights that are shared.

    Raises:
        ValueError: a state holds something else than tensors and plain values.
    """
    write_state(path_or_file, _state_of(model, optimizer) | {"progress": {"step": step}})


def load_checkpoint(
    path_or_file: PathOrFile, model: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Restore model, optimizer and torch's random states from a file, and return its step.

    The learning rate and all other numbers of the optimizer's groups are those of the file.

    Raises:
        ValueError: the file is damaged, or was written for another model or optimizer. Then
            model and optimizer stay as they are.
    """
    state = read_state(path_or_file)
    _restore(path_or_file, state, model, optimizer)
    return state["progress"]["step"]


def save_progress(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    facts: dict[str, Any] | None = None,
) -> Path:
    """Write a checkpoint of a run of `train` into its folder and return the path.

    facts identify the run. The newest N_CHECKPOINTS stay; older ones are deleted once the new one
    is whole.

    Raises:
        ValueError: folder holds checkpoints of later steps, so they are of another run.
    """
    path, earlier = folder / f"step{progress.step:07d}.safetensors", checkpoints_in(folder)
    if earlier and step_of(earlier[-1]) > progress.step:
        raise ValueError(
            f"{earlier[-1]} is of a later step than {progress.step}, so it belongs to another run: "
            "name another folder for checkpoints, or move those away"
        )
    run = {"facts": facts, "hash": facts and hash_of(facts)}
    write_state(path, _state_of(model, optimizer) | {"progress": vars(progress), "run": run})
    for old in checkpoints_in(folder)[:-N_CHECKPOINTS]:
        old.unlink()
    return path


def load_progress(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    check: Callable[[dict[str, Any]], None] | None = None,
) -> Progress:
    """Restore what `save_progress` wrote to path, and return how far the run had come.

    check takes the facts that the checkpoint carries, if any, and raises ValueError before anything
    is restored if they are those of another run.

    Raises:
        ValueError: as in `load_checkpoint`; the message says how to continue.
    """
    try:
        state = read_state(path)
        progress = Progress(**state["progress"])
        facts = state.get("run", {}).get("facts")
    except (AttributeError, DamagedError, KeyError, TypeError) as error:
        message = error if isinstance(error, DamagedError) else f"{path} is damaged ({error})"
        raise DamagedError(f"{message}: {_remedy(path)}") from None
    if check and facts is not None:
        check(facts)
    _restore(path, state, model, optimizer)
    return progress


def checkpoints_in(folder: Path) -> list[Path]:
    """Return the checkpoints in a run's folder, in the order of their steps."""
    return _by_number(folder, "step")


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint of the latest step in a run's folder, if there is one."""
    return max(checkpoints_in(folder), key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint of a run was written."""
    return int(checkpoint.stem.removeprefix("step"))


def _by_number(folder: Path, prefix: str) -> list[Path]:
    """Return folder's files of the form prefix<number>.safetensors in the order of their numbers.

    As text, ten million comes before nine million.
    """
    paths = folder.glob(f"{prefix}*.safetensors")
    numbered = {path: path.stem.removeprefix(prefix) for path in paths}
    chosen = [path for path, number in numbered.items() if number.isdecimal()]
    return sorted(chosen, key=lambda path: int(numbered[path]))


def save_weights(path: Path, model: nn.Module) -> None:
    """Write model's weights alone to path, with a checksum."""
    write_state(path, {"model": model.state_dict()})


def load_weights(path: Path, model: nn.Module) -> None:
    """Load the weights at path into model.

    Raises:
        ValueError: the file is damaged, or belongs to another model.
    """
    weights = _weights_for(path, read_state(path), model)
    model.load_state_dict(weights)


def weights_path(folder: Path, step: int) -> Path:
    """Return where a run keeps the weights of a step's evaluation."""
    return folder / f"weights{step:07d}.safetensors"


def weights_by_step(folder: Path, model: nn.Module) -> Iterator[tuple[int, nn.Module]]:
    """Yield each step whose weights were saved in folder, in order, with model at these weights.

    At the end model has its present weights again.
    """
    present = {name: value.clone() for name, value in model.state_dict().items()}
    for path in _by_number(folder, "weights"):
        load_weights(path, model)
        yield int(path.stem.removeprefix("weights")), model
    model.load_state_dict(present)


def _state_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    random = {"cpu": torch.get_rng_state()}
    kind = device_of(model).type
    if kind in GENERATORS:
        random[kind] = GENERATORS[kind].get_rng_state()
    return {
        "model": model.state_dict(),
        "optimizer": {"kind": type(optimizer).__name__, **optimizer.state_dict()},
        "random": random,
    }


def _restore(
    source: PathOrFile, state: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    if "optimizer" not in state:
        raise ValueError(f"{source} holds weights alone, not a checkpoint")
    weights = _weights_for(source, state, model)
    kind, here = state["optimizer"].pop("kind"), type(optimizer).__name__
    if kind != here:
        raise ValueError(f"{source} was written with the optimizer {kind}, not {here}")
    _check_optimizer(source, state["optimizer"], optimizer)
    optimizer.load_state_dict(state["optimizer"])
    model.load_state_dict(weights)
    torch.set_rng_state(state["random"]["cpu"])
    kind = device_of(model).type
    if kind in GENERATORS and kind in state["random"]:
        GENERATORS[kind].set_rng_state(state["random"][kind])


def _check_optimizer(
    source: PathOrFile, stored: dict[str, Any], optimizer: torch.optim.Optimizer
) -> None:
    """Check that groups and states in stored fit the parameters that optimizer steps.

    torch compares the sizes of groups alone, and a fused kernel reads past the end of a state that
    is smaller than its parameter.
    """
    groups = [[group.get("name"), len(group["params"])] for group in optimizer.param_groups]
    groups_there = [[group.get("name"), len(group["params"])] for group in stored["param_groups"]]
    if groups != groups_there:
        raise ValueError(
            f"{source} was written with other groups of parameters: {groups_there} there and "
            f"{groups} here (name and number of parameters)"
        )
    numbers = (n for group in stored["param_groups"] for n in group["params"])
    parameters = (p for group in optimizer.param_groups for p in group["params"])
    for number, parameter in zip(numbers, parameters, strict=True):
        for name, value in stored["state"].get(number, {}).items():
            if not isinstance(value, Tensor):
                continue
            shape = () if name == "step" else tuple(parameter.shape)
            is_right = tuple(value.shape) == shape and value.dtype.is_floating_point
            if name in (*SHAPED, "step") and not is_right:
                raise ValueError(
                    f"{source} has the optimizer's {name} of parameter {number} with shape "
                    f"{tuple(value.shape)} and type {value.dtype}, and this parameter needs floats "
                    f"of shape {shape}"
                )


def _weights_for(source: PathOrFile, state: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """Return the weights in state, whose names and shapes must be those of model."""
    stored, expected = (
        {name: tuple(getattr(value, "shape", ())) for name, value in weights.items()}
        for weights in (state["model"], model.state_dict())
    )
    for name in [*expected, *stored]:
        if stored.get(name) != expected.get(name):
            raise ValueError(
                f"{source} holds a model of another shape: {name} is "
                f"{stored.get(name, 'missing')} there and {expected.get(name, 'missing')} here"
            )
    return state["model"]


def _remedy(path: Path) -> str:
    others = [other for other in checkpoints_in(path.parent) if step_of(other) < step_of(path)]
    if others:
        return f"delete it to go on from {others[-1].name}"
    return "delete it to start this run again"

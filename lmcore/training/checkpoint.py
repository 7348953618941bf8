"""The state of a training run in one safetensors file: nothing in it can run code when loaded."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from lmcore.files import whole_file

KEEP = 2
KEPT = "weights"
"""What the names of weights that stay begin with; their step follows."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come; elapsed_s counts training alone.

    Early stopping goes on from best_step, best_nats, misses and held; ended says why a run is
    over before its planned length.
    """

    step: int
    elapsed_s: float
    precision: str
    best_step: int = 0
    best_nats: float | None = None
    misses: int = 0
    held: int = 0
    stop_reason: str | None = None


def _checksum(told: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(told.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _write(target: Path | BufferedIOBase, told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    progress = json.dumps(told)
    metadata = {"progress": progress, "checksum": _checksum(progress, tensors)}
    content = save(tensors, metadata)
    if not isinstance(target, Path):
        target.write(content)
        return
    with whole_file(target) as beside:
        beside.write_bytes(content)


def _read(source: Path | BufferedIOBase) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        content = source.read_bytes() if isinstance(source, Path) else source.read()
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header["__metadata__"]
        told = json.loads(metadata["progress"])
        intact = metadata["checksum"] == _checksum(metadata["progress"], tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(source, error) from None
    if not intact:
        raise _damaged(source, "its checksum differs")
    return told, tensors


def _damaged(source: Path | BufferedIOBase, why: object) -> ValueError:
    if not isinstance(source, Path):
        return ValueError(f"the open file is no whole checkpoint ({why})")
    return ValueError(f"{source} is damaged ({why}){_other_checkpoint(source)}")


def _model_tensors(model: nn.Module) -> dict[str, Tensor]:
    return {f"model.{name}": value for name, value in model.state_dict().items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{k}": v for i, kept in state.items() for k, v in kept.items()}


def _restore_model(
    source: Path | BufferedIOBase, model: nn.Module, tensors: dict[str, Tensor]
) -> None:
    weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    own = {name: value.shape for name, value in model.state_dict().items()}
    if own != {name: value.shape for name, value in weights.items()}:
        raise ValueError(f"{source} holds a model of another shape than the one to be restored")
    model.load_state_dict(weights)


def save_weights(path: Path, model: nn.Module) -> None:
    """Write model's weights alone to path, checksummed."""
    _write(path, {}, _model_tensors(model))


def load_weights(path: Path, model: nn.Module) -> None:
    """Put the weights at path into model.

    Raises:
        ValueError: the file is damaged, or belongs to a model of another shape.
    """
    _restore_model(path, model, _read(path)[1])


def kept_weights(folder: Path, model: nn.Module) -> Iterator[tuple[int, nn.Module]]:
    """Yield each step whose weights were kept in folder, in order, and model with these weights.

    In the end model has its own weights again.
    """
    own = {name: value.clone() for name, value in model.state_dict().items()}
    for path in sorted(folder.glob(f"{KEPT}*.safetensors")):
        load_weights(path, model)
        yield int(path.stem.removeprefix(KEPT)), model
    model.load_state_dict(own)


def save_checkpoint(
    target: Path | BufferedIOBase,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
) -> Path | None:
    """Write model, optimizer and random states after progress.step steps.

    Into an open binary file, or into a folder as a file whose path is returned. There the newest
    KEEP checkpoints stay, older ones are deleted once the new one is whole.
    """
    tensors = _model_tensors(model) | _optimizer_tensors(optimizer)
    tensors["random.cpu"] = torch.get_rng_state()
    if next(model.parameters()).is_cuda:
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    if not isinstance(target, Path):
        _write(target, vars(progress), tensors)
        return None
    path = target / f"step{progress.step:07d}.safetensors"
    _write(path, vars(progress), tensors)
    for old in sorted(target.glob("step*.safetensors"))[:-KEEP]:
        old.unlink()
    return path


def load_checkpoint(
    source: Path | BufferedIOBase, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    """Put model, optimizer and random states back to where they were when source was written.

    Returns how far the run had come, its step among it.

    Raises:
        ValueError: the file is damaged, or belongs to a model of another shape.
    """
    told, tensors = _read(source)
    try:
        progress = Progress(**told)
    except TypeError as error:
        raise _damaged(source, error) from None
    _restore_model(source, model, tensors)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and next(model.parameters()).is_cuda:
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return progress


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint in folder, if there is one."""
    return max(folder.glob("step*.safetensors"), default=None)


def _other_checkpoint(path: Path) -> str:
    others = [p for p in path.parent.glob("step*.safetensors") if p.name < path.name]
    if others:
        return f": delete it to go on from {max(others).name}"
    return ": delete it to start this run again"

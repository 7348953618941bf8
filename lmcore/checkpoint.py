"""The state of a training run in one safetensors file: nothing in it can run code when loaded."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lmcore.records import whole_file

KEEP = 2


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come; elapsed_s counts training alone.

    Early stopping goes on from best_step, best_nats and misses; ended says why a run is over
    before its planned length.
    """

    step: int
    elapsed_s: float
    precision: str
    best_step: int = 0
    best_nats: float | None = None
    misses: int = 0
    ended: str | None = None


def _checksum(told: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(told.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _write(path: Path, told: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    progress = json.dumps(told)
    metadata = {"progress": progress, "checksum": _checksum(progress, tensors)}
    with whole_file(path) as beside:
        beside.write_bytes(save(tensors, metadata))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata(), list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
        told = json.loads(metadata["progress"])
        intact = metadata["checksum"] == _checksum(metadata["progress"], tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}){_other_checkpoint(path)}") from None
    if not intact:
        raise ValueError(f"{path} is damaged (its checksum differs){_other_checkpoint(path)}")
    return told, tensors


def _model_tensors(model: nn.Module) -> dict[str, Tensor]:
    return {f"model.{name}": value for name, value in model.state_dict().items()}


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{k}": v for i, kept in state.items() for k, v in kept.items()}


def _restore_model(path: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    weights = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    own = {name: value.shape for name, value in model.state_dict().items()}
    if own != {name: value.shape for name, value in weights.items()}:
        raise ValueError(f"{path} holds a model of another shape than the one to be restored")
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


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> Path:
    """Write model, optimizer and random states after progress.step steps; return the file's path.

    The newest KEEP checkpoints stay, older ones are deleted once the new one is whole.
    """
    tensors = _model_tensors(model) | _optimizer_tensors(optimizer)
    tensors["random.cpu"] = torch.get_rng_state()
    if next(model.parameters()).is_cuda:
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    path = folder / f"step{progress.step:07d}.safetensors"
    _write(path, vars(progress), tensors)
    for old in sorted(folder.glob("step*.safetensors"))[:-KEEP]:
        old.unlink()
    return path


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Put model, optimizer and random states back to where they were when path was written.

    Raises:
        ValueError: the file is damaged, or belongs to a model of another shape.
    """
    told, tensors = _read(path)
    try:
        progress = Progress(**told)
    except TypeError as error:
        raise ValueError(f"{path} is damaged ({error}){_other_checkpoint(path)}") from None
    _restore_model(path, model, tensors)
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

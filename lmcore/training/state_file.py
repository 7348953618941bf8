"""Trees of tensors and plain values in one safetensors file: loading it never runs code.

The tensors are stored by name. The file's metadata hold the tree around them as JSON, and a
checksum of both.
"""

import hashlib
import json
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lmcore.files import whole_file

PathOrFile = str | Path | BufferedIOBase


class DamagedError(ValueError):
    """A file is not what `write_state` wrote; the message names it."""


class _Tensors:
    """Tensors by name, each stored once however often a tree holds it."""

    def __init__(self):
        self.by_name: dict[str, Tensor] = {}
        self.names: dict[tuple, str] = {}
        self.storages: set[int] = set()

    def add(self, name: str, tensor: Tensor) -> str:
        """Store tensor and return its name: that of an earlier one if both are the same memory."""
        same = (
            tensor.device,
            tensor.data_ptr(),
            tensor.dtype,
            tuple(tensor.shape),
            tensor.stride(),
        )
        if tensor.numel() and same in self.names:
            return self.names[same]
        while name in self.by_name:
            name += "'"
        storage = tensor.untyped_storage().data_ptr()
        stored = tensor.detach().cpu().contiguous()
        is_view = stored.untyped_storage().nbytes() != stored.nbytes
        if is_view or (tensor.numel() and storage in self.storages):
            stored = stored.clone()
        self.by_name[name], self.names[same] = stored, name
        self.storages.add(storage)
        return name


def _encoded(value: Any, name: str, tensors: _Tensors) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return {"tensor": tensors.add(name, value)}
    if isinstance(value, dict):
        items = [[key, _encoded(item, f"{name}.{key}", tensors)] for key, item in value.items()]
        return {"dict": items}
    if isinstance(value, list | tuple):
        items = [_encoded(item, f"{name}.{i}", tensors) for i, item in enumerate(value)]
        return {"list" if isinstance(value, list) else "tuple": items}
    raise ValueError(
        f"{name.removeprefix('.')} is a {type(value).__name__}: a checkpoint holds tensors, "
        "numbers, text, lists and dicts"
    )


def _decoded(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _decoded(item, tensors) for key, item in content}
    items = [_decoded(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)


def _checksum(tree: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(tree.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_state(target: PathOrFile, state: dict[str, Any]) -> None:
    """Write state, a tree of tensors and plain values, to a path or an open binary file.

    A file at a path appears whole or not at all.

    Raises:
        ValueError: state holds something else, which the message names.
    """
    tensors = _Tensors()
    tree = json.dumps({key: _encoded(value, key, tensors) for key, value in state.items()})
    metadata = {"tree": tree, "checksum": _checksum(tree, tensors.by_name)}
    content = save(tensors.by_name, metadata)
    if not isinstance(target, str | Path):
        target.write(content)
        return
    with whole_file(target) as part:
        part.write_bytes(content)


def read_state(source: PathOrFile) -> dict[str, Any]:
    """Return the state that `write_state` wrote, its tensors on the CPU.

    Raises:
        DamagedError: the file is missing, cut off, changed, or another kind of file.
    """
    try:
        content = Path(source).read_bytes() if isinstance(source, str | Path) else source.read()
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header["__metadata__"]
        state = {
            key: _decoded(value, tensors) for key, value in json.loads(metadata["tree"]).items()
        }
        is_intact = metadata["checksum"] == _checksum(metadata["tree"], tensors)
    except (SafetensorError, OSError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise _damaged(source, error) from None
    if not is_intact:
        raise _damaged(source, "its checksum differs")
    return state


def _damaged(source: PathOrFile, reason: object) -> DamagedError:
    if isinstance(source, str | Path):
        return DamagedError(f"{source} is damaged ({reason})")
    return DamagedError(f"the open file is not a whole checkpoint ({reason})")

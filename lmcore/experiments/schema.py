"""Upgrades of stored runs from one schema to the next, so that old runs stay readable.

Each run folder names the schema of its config. `upgrade` rewrites config and names for the current
schema, and adds the checksums that runs of earlier versions lack. The numbers that a run measured
stay as they are.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmcore.config import SCHEMA, from_dict, stored_config
from lmcore.experiments import checksums
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.metrics_file import read_metrics
from lmcore.files import read_object, write_json, write_text
from lmcore.locks import locked

V1_MODEL = {
    "positions": "learned", "activation": "gelu",
    "n_kv_heads": None, "head_size": None, "rope_base": 10_000.0, "rope_stretch": None,
    "norm": "layer", "norm_at": "pre", "norm_eps": 1e-5, "qk_norm": False, "parallel": False,
    "layer_scale": None, "bias": True, "tied": True, "initialisation": "flat",
    "initial_scale": 1.0, "embedding_scale": 1.0, "head_scale": None,
}  # fmt: skip
V1_TRAIN = {
    "optimizer": "sgd", "lr": 6e-3, "schedule": "cosine", "order": "sequential",
    "within_documents": False, "epochs": None, "steps": None,
    "n_tokens": None, "max_s": None, "patience": None, "until_accuracy": None, "warmup": 0,
    "floor": 0.0, "decay_fraction": 0.2, "momentum": 0.0, "betas": [0.9, 0.95], "eps": 1e-8,
    "weight_decay": 0.0, "decay_embeddings": False, "clip": 1.0, "loss": "softmax",
    "grokfast": 0.0, "grokfast_memory": 0.98, "orthogonal": False, "evaluate_at": [],
    "evaluate_every": None, "record_every": 1, "keep_weights": False, "precision": "auto",
}  # fmt: skip
"""Values of the first schema's fields that a config lacks because it is older than they are."""

V1_TITLES = {"tokenizer": "bpe", "tokenizer_text": "train+validation"}
"""Fields of titles that the first schema lacked, with what its runs did."""

V1_OPTIMIZER = {
    "kind": "optimizer", "lr": "lr", "momentum": "momentum", "betas": "betas", "eps": "eps",
    "weight_decay": "weight_decay", "decay_embeddings": "decay_embeddings",
    "max_grad_norm": "clip", "grokfast_lambda": "grokfast", "grokfast_alpha": "grokfast_memory",
    "orthogonal_gradients": "orthogonal",
}  # fmt: skip
V1_SCHEDULE = {
    "kind": "schedule", "warmup_steps": "warmup", "min_lr_ratio": "floor",
    "decay_fraction": "decay_fraction",
}  # fmt: skip
V1_EVALUATION = {
    "eval_at": "evaluate_at", "eval_every": "evaluate_every", "log_every": "record_every",
    "patience": "patience", "stop_accuracy": "until_accuracy", "keep_weights": "keep_weights",
}  # fmt: skip
V1_PLAN = (
    "batch_size", "order", "within_documents", "epochs", "steps", "n_tokens", "max_s", "loss",
    "precision",
)  # fmt: skip
V1_MODEL_NAMES = {
    "rope_stretch": "rope_scaling", "tied": "tie_embeddings", "parallel": "parallel_residual",
}  # fmt: skip
V1_RECORD_NAMES = {"gradient_norm": "grad_norm", "ended": "stop_reason"}


def from_v1(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config of the first schema under the second's names.

    Optimizer, schedule and evaluation are sub-configs in the second, and a momentum that the
    optimizer does not use is None.
    """
    if "train" not in config:  # a survey of tokenizers, which has no model
        return config
    old, model = V1_TRAIN | config["train"], V1_MODEL | config["model"]
    has_momentum = old["optimizer"] == "muon" or old["momentum"] != 0
    train = {name: old[name] for name in V1_PLAN} | {
        "optimizer": {new: old[name] for new, name in V1_OPTIMIZER.items()},
        "schedule": {new: old[name] for new, name in V1_SCHEDULE.items()},
        "evaluation": {new: old[name] for new, name in V1_EVALUATION.items()},
    }
    if not has_momentum:
        train["optimizer"]["momentum"] = None
    task = config["corpus"]
    if "n_titles" in task:
        task = V1_TITLES | task
    rest = {name: value for name, value in config.items() if name not in ("corpus", "scale")}
    return rest | {
        "task": task,
        "model": {V1_MODEL_NAMES.get(name, name): value for name, value in model.items()},
        "train": train,
        "scale": config.get("scale", "full"),
    }


def upgrade(folder: Path, kinds: Mapping[str, type] | None = None) -> int:
    """Upgrade all finished runs in and below folder, and return how many an older lmcore wrote.

    kinds gives the config class of each study whose configs are not an `Experiment`.

    Raises:
        ValueError: there is no finished run, or `upgrade_folder` raises; earlier runs are upgraded.
    """
    paths = sorted(path.parent for path in folder.rglob("outcome.json"))
    if not paths:
        raise ValueError(f"{folder} holds no finished run: name a run folder or one above it")
    return sum(upgrade_folder(path, _kind_of(path, kinds or {})) for path in paths)


def _kind_of(folder: Path, kinds: Mapping[str, type]) -> type:
    config = read_object(folder / "config.json").get("config")
    if not isinstance(config, dict):
        raise ValueError(f"{folder / 'config.json'} is not a config")
    return kinds.get(config.get("study", ""), Experiment)


def upgrade_folder(folder: Path, kind: type) -> bool:
    """Rewrite a run folder as this lmcore writes it; return whether an older one wrote it.

    Raises:
        ValueError: a file is missing or damaged, a newer lmcore wrote it, or another process writes
            to it.
    """
    if _is_current(folder):
        return False
    with locked(folder):
        stored = read_object(folder / "config.json")
        if stored.get("schema", 1) == 1:
            _upgrade_v1(folder, kind, stored)
        read_metrics(folder / "metrics.jsonl")
        for name in ("environment.json", "outcome.json"):
            read_object(folder / name)
        checksums.write_sums(folder)
        return True


def _is_current(folder: Path) -> bool:
    schema = read_object(folder / "config.json").get("schema", 1)
    if schema not in (1, SCHEMA):
        raise ValueError(f"{folder} has schema {schema}, this lmcore knows {SCHEMA}: update lmcore")
    return schema == SCHEMA and (folder / checksums.NAME).exists()


def _upgrade_v1(folder: Path, kind: type, stored: dict[str, Any]) -> None:
    try:
        config = from_dict(kind, from_v1(stored["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'} cannot be upgraded: {error}") from None
    old = read_metrics(folder / "metrics.jsonl")
    records = [_renamed(record, V1_RECORD_NAMES) for record in old]
    environment = _renamed(read_object(folder / "environment.json"), {"corpus": "data"})
    # An old checksum would accuse what is rewritten here if the process ended half-way.
    (folder / checksums.NAME).unlink(missing_ok=True)
    write_text(folder / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    write_json(folder / "environment.json", environment)
    write_json(folder / "config.json", stored_config(config))


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}

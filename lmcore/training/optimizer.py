"""The optimizer of a config: each parameter has a role, and its role decides how it is stepped."""

from collections.abc import Callable

import torch
from torch import nn

from lmcore.training.adamw import AdamW
from lmcore.training.config import OptimizerConfig
from lmcore.training.gradients import amplify_slow_gradients, orthogonalise_gradients
from lmcore.training.muon import Muon
from lmcore.training.sgd import SGD

ROLES = ("hidden", "embedding", "head", "kernel", "vector")
"""The roles of parameters: matrices inside the model, embeddings, the head's matrix, anything with
more than two dimensions, anything with fewer. Muon orthogonalises `hidden` alone, `vector` never
decays, `embedding` only if asked for.
"""
Roles = Callable[[str, nn.Parameter], str | None]
"""From a parameter's name and the parameter to its role; None means the default role."""


def default_role(name: str, parameter: nn.Parameter, is_embedding: bool) -> str:
    """Return the role of a parameter by its kind and its number of dimensions."""
    if is_embedding:
        return "embedding"
    if parameter.ndim < 2:
        return "vector"
    if parameter.ndim > 2:
        return "kernel"
    return "head" if name == "head.weight" else "hidden"


def parameter_groups(
    model: nn.Module, weight_decay: float, decay_embeddings: bool, roles: Roles | None = None
) -> list[dict]:
    """Return model's trainable parameters in groups by role, each parameter in exactly one.

    By default the weight of every nn.Embedding is an `embedding`, also where the head shares it,
    `head.weight` is the `head`, other matrices are `hidden`, what has more than two dimensions is
    a `kernel` and what has fewer is a `vector`. roles may say otherwise. A role without parameters
    has no group.

    Raises:
        ValueError: roles gave something that is not a role.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    decays = {name: True for name in ROLES} | {"embedding": decay_embeddings, "vector": False}
    members: dict[str, list[nn.Parameter]] = {name: [] for name in ROLES}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        role = roles(name, parameter) if roles else None
        role = default_role(name, parameter, id(parameter) in embeddings) if role is None else role
        if role not in members:
            raise ValueError(f"{name} got the role {role!r}: take one of {', '.join(ROLES)}")
        members[role].append(parameter)
    return [
        {"name": name, "params": params, "weight_decay": weight_decay if decays[name] else 0.0}
        for name, params in members.items()
        if params
    ]


def build_optimizer(
    config: OptimizerConfig, model: nn.Module, roles: Roles | None = None
) -> torch.optim.Optimizer:
    """Return the optimizer that config describes, over the parameter_groups of model.

    Slow gradients are amplified before gradients are made orthogonal.

    Raises:
        ValueError: roles gave something that is not a role, or Muon has nothing to step.
    """
    groups = parameter_groups(model, config.weight_decay, config.decay_embeddings, roles)
    momentum, decay = config.effective_momentum, config.weight_decay
    adam = {"betas": config.betas, "eps": config.eps, "weight_decay": decay}
    if config.kind == "sgd":
        optimizer = SGD(groups, config.lr, decay, momentum)
    elif config.kind == "adamw":
        optimizer = AdamW(groups, config.lr, **adam)
    else:
        hidden = [group for group in groups if group["name"] == "hidden"]
        rest = [group for group in groups if group["name"] != "hidden"]
        if not (hidden and rest):
            raise ValueError(
                "muon needs hidden matrices and parameters for AdamW, but the model has only "
                f"{', '.join(group['name'] for group in groups)}: take adamw, or give roles"
            )
        optimizer = Muon(hidden, rest, config.lr, momentum, **adam)
    if config.grokfast_lambda:
        amplify_slow_gradients(optimizer, config.grokfast_lambda, config.grokfast_alpha)
    if config.orthogonal_gradients:
        orthogonalise_gradients(optimizer)
    return optimizer

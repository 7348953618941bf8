"""Configurations: dataclasses to and from plain values, their choices and their hash."""

import dataclasses
import difflib
import hashlib
import json
import typing
from collections.abc import Mapping
from types import UnionType
from typing import Any, TypeVar

Config = TypeVar("Config")

SCHEMA = 2
"""Version of all configs together: goes up when a field is added, renamed, or read differently.
`lmcore.experiments.schema` upgrades stored configs.
"""


def from_dict(kind: type[Config], stored: Any) -> Config:
    """Return the dataclass kind with stored's values, lists turned back into tuples.

    A field that stored lacks takes its default.

    Raises:
        ValueError: stored has a field that kind does not know, or no fields at all.
    """
    if not isinstance(stored, dict):
        raise ValueError(f"{kind.__name__} is made from named values, not from {stored!r}")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(stored) - set(hints))
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {', '.join(unknown)}")
    return kind(**{name: _typed(hints[name], value) for name, value in stored.items()})


def _typed(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) is UnionType and value is not None:
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        hint = next((option for option in options if _has_fields(option, value)), options[0])
    if dataclasses.is_dataclass(hint) and value is not None:
        return from_dict(hint, value)
    return tuple(value) if isinstance(value, list) else value


def _has_fields(kind: Any, stored: Any) -> bool:
    """Return whether kind is a dataclass that knows each of stored's names."""
    known = getattr(kind, "__dataclass_fields__", None)
    return known is not None and isinstance(stored, dict) and set(stored) <= set(known)


def check_choices(config: Any) -> None:
    """Raise ValueError if a field of config that has named choices holds something else."""
    for name, hint in typing.get_type_hints(type(config)).items():
        if typing.get_origin(hint) is typing.Literal:
            require_choice(name, getattr(config, name), hint)


def require_choice(name: str, value: Any, literal: Any) -> None:
    """Raise ValueError if the value called name is not one that the Literal lists."""
    choices = typing.get_args(literal)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def config_hash(config: Any) -> str:
    """Return a hash of all fields of a config and of the schema's version."""
    text = json.dumps([SCHEMA, dataclasses.asdict(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stored_config(config: Any) -> dict[str, Any]:
    """Return what a config.json holds: schema, hash and every field."""
    return {
        "schema": SCHEMA, "hash": config_hash(config), "config": dataclasses.asdict(config)
    }  # fmt: skip


def flat_fields(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of config by dotted name, those of configs inside it included."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        is_config = dataclasses.is_dataclass(value)
        name = f"{prefix}{f.name}"
        out |= flat_fields(value, f"{name}.") if is_config else {name: value}
    return out


def full_name(config: Any, name: str) -> str:
    """Return the dotted name of the field that name stands for, by its last parts if unique.

    Raises:
        ValueError: no field, or more than one, has this name; the message names the nearest.
    """
    known = flat_fields(config)
    names = [f.name for f in dataclasses.fields(config)]
    if name in known or name in names:
        return name
    found = [full for full in known if full.endswith(f".{name}")]
    if len(found) == 1:
        return found[0]
    kind = type(config).__name__
    if found:
        raise ValueError(f"{kind} has more than one {name}: say {' or '.join(found)}")
    ends = {full.rsplit(".", 1)[-1]: full for full in known} | {full: full for full in known}
    near = difflib.get_close_matches(name, ends, 1)
    hint = f": did you mean {ends[near[0]]}?" if near else f"; it has {', '.join(known)}"
    raise ValueError(f"{kind} has no field {name}{hint}")


def with_fields(
    config: Config, changes: Mapping[str, Any] | None = None, /, **named: Any
) -> Config:
    """Return config with some values changed, each named as in `full_name`.

    So with_fields(plan, {"schedule.kind": "wsd"}, lr=1e-3) reaches into plan.schedule and
    plan.optimizer. All changes to one config are made at once, so that they are checked together.

    Raises:
        ValueError: a name is unknown or not unique, or the values do not go together.
    """
    own: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in ((changes or {}) | named).items():
        head, _, rest = full_name(config, name).partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = value
        else:
            own[head] = value
    for head, values in inner.items():
        own[head] = with_fields(own.get(head, getattr(config, head)), values)
    return dataclasses.replace(config, **own)

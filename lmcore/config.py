"""Configs: dataclasses to and from plain values, hashes, changed fields."""

import dataclasses
import difflib
import hashlib
import json
import textwrap
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from lmcore.boundary import from_fields, shown

Config = TypeVar("Config")

SCHEMA = 2
"""The version of all stored configs. It goes up when a field is added, renamed or changes meaning;
`lmcore.experiments.schema` upgrades stored configs.
"""


def from_dict(kind: type[Config], stored: Any) -> Config:
    """Return the dataclass kind with stored's values, converted as `boundary` does.

    A field that is missing in stored takes its default.

    Raises:
        ValueError: stored is not a dict, has a field that kind lacks or a value of another type.
    """
    if not isinstance(stored, dict):
        raise ValueError(f"{kind.__name__} needs a dict of fields, not {shown(stored)}")
    return from_fields(kind, stored)


def config_hash(config: Any) -> str:
    """Return a hash of all fields of a config and of SCHEMA."""
    text = json.dumps([SCHEMA, dataclasses.asdict(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stored_config(config: Any) -> dict[str, Any]:
    """Return the content of a config.json: schema, hash and all fields."""
    return {
        "schema": SCHEMA, "hash": config_hash(config), "config": dataclasses.asdict(config)
    }  # fmt: skip


def flat_fields(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of config by dotted name, with those of its sub-configs."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        is_config = dataclasses.is_dataclass(value)
        name = f"{prefix}{f.name}"
        out |= flat_fields(value, f"{name}.") if is_config else {name: value}
    return out


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Return "name old -> new" of each value that differs, by name; None is one that is missing."""
    return {
        name: f"{name} {before.get(name)} -> {after.get(name)}"
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }


def full_name(config: Any, name: str) -> str:
    """Return the dotted name of the field called name; its last part is enough if it is unique.

    So is its last part after that of a sub-config: train.lr means train.optimizer.lr.

    Raises:
        ValueError: no field or several fields have this name; the message names the nearest.
    """
    known = flat_fields(config)
    names = [f.name for f in dataclasses.fields(config)]
    if name in known or name in names:
        return name
    matches = [full for full in known if full.endswith(f".{name}")]
    if len(matches) == 1:
        return matches[0]
    head, _, rest = name.partition(".")
    if rest and head in names and dataclasses.is_dataclass(getattr(config, head)):
        inner = [full for full in known if full.startswith(f"{head}.")]
        within = [full for full in inner if full.endswith(f".{rest}")]
        if len(within) == 1:
            return within[0]
    kind = type(config).__name__
    if matches:
        raise ValueError(f"{kind} has more than one {name}: say {' or '.join(matches)}")
    ends = {full.rsplit(".", 1)[-1]: full for full in known} | {full: full for full in known}
    raise ValueError(f"{kind} has no field {name}{nearest(name, ends)}")


MAX_NAMES = 280
"""Characters of all the names that an error lists."""


def nearest(name: str, known: Mapping[str, str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, or those there are.

    known gives the name to say for each that may be meant.
    """
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f": did you mean {known[near[0]]}?"
    names = textwrap.shorten(
        ", ".join(dict.fromkeys(known.values())), MAX_NAMES, placeholder=" ..."
    )
    return f"; it has {names}"


def with_fields(
    config: Config, changes: Mapping[str, Any] | None = None, /, **named: Any
) -> Config:
    """Return config with some fields changed; `full_name` says how to name them.

    For example, with_fields(plan, {"schedule.kind": "wsd"}, lr=1e-3) changes plan.schedule and
    plan.optimizer. Changes to the same config are checked together.

    Raises:
        ValueError: a name is unknown or not unique, or the values contradict each other.
    """
    direct: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for name, value in {**(changes or {}), **named}.items():
        head, _, rest = full_name(config, name).partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = value
        else:
            direct[head] = value
    for head, values in inner.items():
        direct[head] = with_fields(direct.get(head, getattr(config, head)), values)
    return dataclasses.replace(typing.cast(Any, config), **direct)

"""Configurations: dataclasses to and from plain values, their choices and their hash."""

import dataclasses
import hashlib
import json
import typing
from types import UnionType
from typing import Any, TypeVar

Config = TypeVar("Config")


def from_dict(kind: type[Config], stored: Any) -> Config:
    """Return the dataclass kind with stored's values, lists turned back into tuples.

    A field that stored lacks takes its default, so a field added later must default to what was
    done before it existed.

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
        choices, value = typing.get_args(hint), getattr(config, name)
        if typing.get_origin(hint) is typing.Literal and value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def config_hash(config: Any) -> str:
    """Return a hash of the fields of a config that differ from their defaults.

    So a field added later, with a default that changes nothing, leaves old hashes as they were.
    """

    def told(value: Any) -> Any:
        if not dataclasses.is_dataclass(value):
            return list(value) if isinstance(value, tuple) else value
        fields = {f.name: (f, getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {name: told(v) for name, (f, v) in fields.items() if v != f.default}

    text = json.dumps(told(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

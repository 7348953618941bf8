"""The fields of a config as flags: names, types, defaults and help come from the dataclass."""

import ast
import dataclasses
import inspect
import textwrap
import typing
from typing import Annotated, Any

import tyro


def flags_of(config: Any, *, without: tuple[str, ...] = (), unset: tuple[str, ...] = ()) -> type:
    """Return a dataclass of config's fields from which tyro makes flags.

    Its defaults are config's values. It checks nothing, so that flags are checked together, once
    they are in a config. Fields named in without are left out. Those in unset default to None,
    which stands for config's value unless another of them is given.
    """
    hints, docs = typing.get_type_hints(type(config)), field_docs(type(config))
    fields = []
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if field.name in without:
            continue
        if dataclasses.is_dataclass(value):
            inner = flags_of(value)
        elif (kind := _dataclass_in(hint)) is not None:
            inner = _optional_flags(kind)
        else:
            inner, text = None, docs[field.name]
            if field.name in unset and value is not None:
                text, value = f"{text} Without any length: {value:,}.", None
            hint = Annotated[hint, tyro.conf.arg(help=text)]
        default = dataclasses.field(default_factory=inner) if inner else value
        fields.append((field.name, inner or hint, default))
    return _made(type(config), fields)


def flag_changes(config: Any, flags: Any) -> dict[str, Any]:
    """Return the values of flags that differ from config's, by dotted name.

    Raises:
        ValueError: only a part of a config that may be None was given.
    """
    out: dict[str, Any] = {}
    for field in dataclasses.fields(flags):
        name, value, current = field.name, getattr(flags, field.name), getattr(config, field.name)
        if not dataclasses.is_dataclass(value):
            if value != field.default:
                out[name] = value
        elif current is not None:
            inner = flag_changes(current, value)
            out |= {f"{name}.{rest}": changed for rest, changed in inner.items()}
        elif given := {n: v for n, v in vars(value).items() if v is not None}:
            missing = [f.name for f in dataclasses.fields(value) if f.name not in given]
            if missing:
                raise ValueError(f"{name} also needs {', '.join(missing)}")
            kind = _dataclass_in(typing.get_type_hints(type(config))[name])
            assert kind is not None, "only such a field has flags without a config"
            out[name] = kind(**given)
    return out


def field_docs(kind: type) -> dict[str, str]:
    """Return the docstrings of a dataclass's fields, each in one line."""
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef), "a dataclass is a class"
    docs = {}
    for line, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            value = text.value if isinstance(text, ast.Constant) else ""
            docs[line.target.id] = " ".join(str(value).split())
    return docs


def _optional_flags(kind: type) -> type:
    """Return flags for the fields of a config that may be None: each defaults to None."""
    hints, docs = typing.get_type_hints(kind), field_docs(kind)
    fields = [
        (f.name, Annotated[hints[f.name] | None, tyro.conf.arg(help=docs[f.name])], None)
        for f in dataclasses.fields(kind)
    ]
    return _made(kind, fields)


def _made(kind: type, fields: list[tuple[str, Any, Any]]) -> type:
    return dataclasses.make_dataclass(f"{kind.__name__}Flags", fields, frozen=True, kw_only=True)


def _dataclass_in(hint: Any) -> type | None:
    """Return the dataclass among the types that hint allows, if there is one."""
    options = typing.get_args(hint) or (hint,)
    kinds = (option for option in options if isinstance(option, type))
    return next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)

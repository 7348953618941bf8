"""What callers give, as the type hints say it: converted where its meaning is clear, else refused.

Numbers of NumPy and torch become Python's, arrays and lists become what the hint names, a single
value where a list is meant becomes a list of one, and a dict of fields becomes its config. What
remains is one line that names the argument, what it must be and what it is. Configs call
`convert_fields`; functions are `checked`.
"""

import dataclasses
import functools
import inspect
import math
import numbers
import os
import reprlib
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set, Sized
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, cast

Function = TypeVar("Function", bound=Callable)
Kind = TypeVar("Kind")

MAX_NAME = 255
"""Bytes of the longest name of a file or folder on any usual disk."""

MAX_NUMBER = 2**64
"""No size and no seed is as large."""

MAX_SHOWN = 60
"""Characters of a value that an error shows."""

WORDS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    bool: ("True or False", "True or False"),
    str: ("a text", "texts"),
    bytes: ("bytes", "bytes"),
    Path: ("a path", "paths"),
    NoneType: ("None", "None"),
}
"""What errors call a type, one of it and several."""


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """The smallest number that an annotated hint allows."""

    least: int


Size = Annotated[int, AtLeast(1)]
"""A whole number from 1 on, such as the rows of a matrix."""

Natural = Annotated[int, AtLeast(0)]
"""A whole number from 0 on, such as a seed."""


class _MisfitError(Exception):
    """The value that it carries is not what a hint says."""


def checked(function: Function) -> Function:
    """Return function with each argument converted as its hint says, before any work is done."""
    signature = inspect.signature(function)
    named = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        bound, hints = signature.bind(*arguments, **options), _hints(function)
        for name in named:
            if name in bound.arguments and name in hints:
                bound.arguments[name] = converted(name, bound.arguments[name], hints[name])
        return function(*bound.args, **bound.kwargs)

    return cast(Function, call)


def convert_fields(config: Any) -> None:
    """Convert each field of a new frozen dataclass as its hint says.

    Raises:
        ValueError: a value is not what its hint says, or not finite.
    """
    hints = _hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        fitting = converted(field.name, value, hints[field.name])
        if isinstance(fitting, float) and math.isinf(fitting):
            raise ValueError(f"{field.name} must be a finite number, not {fitting}")
        if fitting is not value:
            object.__setattr__(config, field.name, fitting)


def from_fields(kind: type[Kind], stored: Mapping[str, Any]) -> Kind:
    """Return the dataclass kind with stored's values; missing fields take their defaults.

    Raises:
        ValueError: stored has a field that kind lacks, lacks one without a default, or has a value
            that is not what its hint says.
    """
    hints, fields = _hints(kind), dataclasses.fields(cast(Any, kind))
    names = {field.name for field in fields}
    if unknown := sorted(map(str, set(stored) - names)):
        raise ValueError(f"{kind.__name__} has no field {', '.join(unknown)}")
    no = dataclasses.MISSING
    required = [f.name for f in fields if f.default is no and f.default_factory is no]
    if missing := [name for name in required if name not in stored]:
        raise ValueError(f"{kind.__name__} needs {', '.join(missing)}")
    return kind(**{name: converted(name, value, hints[name]) for name, value in stored.items()})


def converted(name: str, value: Any, hint: Any) -> Any:
    """Return value as hint says it.

    Raises:
        ValueError: its meaning is not clear; the message says what name must be.
    """
    try:
        return _fitted(name, value, hint)
    except _MisfitError as misfit:
        raise ValueError(f"{name} must be {described(hint)}{_instead(value, misfit)}") from None


@functools.cache
def _hints(of: Any) -> dict[str, Any]:
    return typing.get_type_hints(of, include_extras=True)


# Values


def _fitted(name: str, value: Any, hint: Any) -> Any:
    """Return value as hint says it; hints of unknown kinds allow everything."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, TypeVar):
        origin, options = typing.Union, hint.__constraints__ or (hint.__bound__ or Any,)
    if origin in (typing.Union, UnionType):
        return _fitted_to_one(name, value, options)
    if origin is Annotated:
        return _bounded(name, value, *options)
    if origin is Literal:
        return _choice(value, options)
    if origin is tuple:
        return _tuple(name, value, options)
    if origin in (list, Sequence, Collection):
        return _list(name, value, options[0], origin)
    if origin in (dict, Mapping):
        return _dict(name, value, options)
    if origin in (Iterable, Iterator):
        return _stream(name, value, options[0])
    if hint in SCALARS:
        return SCALARS[hint](value)
    return _instance(value, origin or hint)


def _fitted_to_one(name: str, value: Any, options: tuple) -> Any:
    """Return value as one of several hints says it: the one it already is, or else the first."""
    for option in options:
        if option in SCALARS and type(value) is option:
            if option is str and Path in options:
                _path(value)  # complains if it cannot be one
            return SCALARS[option](value)
        if option not in SCALARS and _is_instance(value, option):
            return value
    takes_mapping = any(typing.get_origin(option) in (dict, Mapping) for option in options)
    if isinstance(value, Mapping) and not takes_mapping:
        kinds = [option for option in options if dataclasses.is_dataclass(option)]
        options = (*sorted(kinds, key=lambda kind: not _has_fields(kind, value)), *options)
    misfits = []
    for option in options:
        try:
            return _fitted(name, value, option)
        except _MisfitError as misfit:
            misfits.append(misfit)
    raise next((misfit for misfit in misfits if misfit.args[0] is not value), misfits[0])


def _has_fields(kind: Any, stored: Mapping) -> bool:
    return set(stored) <= {field.name for field in dataclasses.fields(kind)}


def _bounded(name: str, value: Any, hint: Any, *bounds: Any) -> Any:
    fitting = _fitted(name, value, hint)
    if any(isinstance(bound, AtLeast) and fitting < bound.least for bound in bounds):
        raise _MisfitError(value)
    return fitting


def _item(value: Any) -> Any:
    """Return the Python value of a number of NumPy or torch; all else as it is."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _flag(value: Any) -> bool:
    if not isinstance(flag := _item(value), bool):
        raise _MisfitError(value)
    return flag


def _whole(value: Any) -> int:
    number = _item(value)
    is_whole = isinstance(number, int) or (isinstance(number, float) and number.is_integer())
    if isinstance(number, bool) or not is_whole or not abs(number) < MAX_NUMBER:
        raise _MisfitError(value)
    return int(number)


def _number(value: Any) -> float:
    number = _item(value)
    if isinstance(number, bool) or not isinstance(number, numbers.Real) or number != number:
        raise _MisfitError(value)
    return float(number)


def _text(value: Any) -> str:
    if not isinstance(text := _item(value), str):
        raise _MisfitError(value)
    return text


def _path(value: Any) -> Path:
    """Return value as a path; a str that cannot be one, such as a text, is refused."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else _text(value)
    if not isinstance(path, str):
        raise _MisfitError(value)
    try:
        longest = max(len(os.fsencode(part)) for part in path.split(os.sep))
    except UnicodeEncodeError:
        raise _MisfitError(value) from None
    if not path or "\0" in path or longest > MAX_NAME or (path is value and "\n" in path):
        raise _MisfitError(value)
    return Path(path)


def _none(value: Any) -> None:
    if value is not None:
        raise _MisfitError(value)


SCALARS: dict[Any, Callable[[Any], Any]] = {
    bool: _flag, int: _whole, float: _number, str: _text, Path: _path, NoneType: _none,
    Any: lambda value: value,
}  # fmt: skip


def _choice(value: Any, choices: tuple) -> Any:
    value = _item(value)
    for choice in choices:
        if isinstance(value, type(choice)) and value == choice:
            return choice
    raise _MisfitError(value)


def _instance(value: Any, kind: Any) -> Any:
    """Return value if it is an instance of kind, or can become one: a config or an array."""
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return from_fields(cast(type, kind), value)
    array = getattr(kind, "array_type", kind)  # a shape of jaxtyping is checked in tests alone
    if _is_instance(value, array):
        return value
    has_numbers = hasattr(value, "__array__") or (isinstance(value, list | tuple) and value)
    if has_numbers and getattr(array, "__name__", "") in ("Tensor", "ndarray"):
        return _array(value, array)
    raise _MisfitError(value)


def _is_instance(value: Any, kind: Any) -> bool:
    """Return whether value is of kind, or a compiled module of it; of other hints nothing is."""
    kind = getattr(kind, "array_type", kind)
    if kind in (Iterable, Sized) and getattr(value, "ndim", 1) == 0:
        return False  # a tensor of one number says that it can be walked through
    try:
        return isinstance(value, kind) or isinstance(getattr(value, "_orig_mod", None), kind)
    except TypeError:
        return False


def _array(value: Any, kind: Any) -> Any:
    """Return the numbers of value as a tensor or an array, whichever kind is."""
    import numpy as np

    try:
        if kind is np.ndarray:
            return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        import torch

        return torch.as_tensor(value)
    except (RuntimeError, TypeError, ValueError):
        raise _MisfitError(value) from None


# Lists


def _items(value: Any, hint: Any) -> Any:
    """Return value with its items in order; a single one that is no list is a list of one."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Set | Mapping | bytes):
        raise _MisfitError(value)
    return [value] if isinstance(value, str) or not isinstance(value, Iterable) else value


def _list(name: str, value: Any, hint: Any, origin: Any) -> Any:
    """Return value as a list; lists and tuples of the right items, and sets of them, stay."""
    is_set = origin is Collection and isinstance(value, Set)
    items = list(value) if is_set else _items(value, hint)
    items = items if isinstance(items, list | tuple) else list(items)
    if origin is list and not isinstance(items, list):
        items = list(items)
    if _are_exact(items, hint):
        return value if is_set else items
    return [_fitted(name, item, hint) for item in items]


def _are_exact(items: Collection, hint: Any) -> bool:
    """Return whether each item is of the very type, or a pair of the very types, of hint."""
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        return all(type(item) is tuple and tuple(map(type, item)) == kinds for item in items)
    return isinstance(hint, type) and all(type(item) is hint for item in items)


def _dict(name: str, value: Any, hints: tuple) -> Any:
    """Return value with its keys and values as hints say them."""
    if not isinstance(value, Mapping):
        raise _MisfitError(value)
    if all(
        _are_exact(items, hint) for items, hint in zip((value, value.values()), hints, strict=True)
    ):
        return value
    return {
        _fitted(name, key, hints[0]): _fitted(name, item, hints[1]) for key, item in value.items()
    }


def _tuple(name: str, value: Any, hints: tuple) -> tuple:
    items = list(_items(value, hints[0]))
    if hints[-1] is ...:
        return tuple(_fitted(name, item, hints[0]) for item in items)
    if len(items) != len(hints):
        raise _MisfitError(value)
    return tuple(_fitted(name, item, hint) for item, hint in zip(items, hints, strict=True))


def _stream(name: str, value: Any, hint: Any) -> Any:
    """Return value; texts and paths are checked, those of an iterator as they come."""
    kinds = tuple(kind for kind in typing.get_args(hint) or (hint,) if kind in (str, Path))
    if isinstance(value, str) and str in kinds:
        return [value]
    if isinstance(value, str | bytes | Set | Mapping) or not _is_instance(value, Iterable):
        raise _MisfitError(value)
    if not kinds:
        return value
    if isinstance(value, list | tuple):
        for item in value:
            if not isinstance(item, kinds):
                raise _MisfitError(item)
        return value
    return _checked_items(name, value, hint, kinds)


def _checked_items(name: str, items: Iterable, hint: Any, kinds: tuple[type, ...]) -> Iterator:
    for number, item in enumerate(items):
        if not isinstance(item, kinds):
            what = " or ".join(WORDS[kind][1] for kind in kinds)
            raise ValueError(f"{name} must be {what}, but number {number} is {shown(item)}")
        yield item


# Words


def described(hint: Any, several: bool = False) -> str:
    """Return in words what a hint allows, one of it or several."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, TypeVar):
        origin, options = typing.Union, hint.__constraints__
    if origin in (typing.Union, UnionType):
        broader = {str: Path, int: float}  # a text may be a path, a whole number is a number
        named = [option for option in options if broader.get(option) not in options]
        return " or ".join(dict.fromkeys(described(option, several) for option in named))
    if origin is Annotated:
        bounds = (f" of at least {b.least}" for b in options[1:] if isinstance(b, AtLeast))
        return described(options[0], several) + "".join(bounds)
    if origin is Literal:
        return f"one of {', '.join(map(str, options))}"
    if origin is tuple and options[-1] is not ... and several:
        return f"groups of {len(options)}"
    if origin is tuple and options[-1] is not ...:
        return f"{len(options)} {described(options[0], True)}"
    if origin is Iterable and Path in typing.get_args(options[0]):
        return "a list of texts or paths"
    if origin in (tuple, list, Sequence, Collection, Iterable, Iterator):
        return f"{'lists' if several else 'a list'} of {described(options[0], True)}"
    if hint in WORDS:
        return WORDS[hint][several]
    if hint is Callable or origin is Callable:
        return "functions" if several else "a function"
    name = getattr(getattr(hint, "array_type", hint), "__name__", str(hint))
    name = {"ndarray": "array", "Tensor": "tensor", "Iterable": "list"}.get(name, name)
    return f"{name}s" if several else _with_article(name)


def shown(value: Any) -> str:
    """Return a value for an error, in a few words of one line."""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return f"a text of {len(value):,} characters"
    value = _item(value)
    if isinstance(value, Path):
        return f"the path {value}"
    if hasattr(value, "shape"):
        return f"{_with_article(type(value).__name__)} of shape {tuple(value.shape)}"
    if isinstance(value, str | bytes | numbers.Number | list | tuple | dict | Set | None):
        return " ".join(reprlib.repr(value).split())
    return _with_article(value.__name__ if isinstance(value, type) else type(value).__name__)


def _with_article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def _instead(value: Any, misfit: _MisfitError) -> str:
    """Return the end of an error: what is given, or which item of it does not fit."""
    [culprit] = misfit.args
    return f", not {shown(value)}" if culprit is value else f", but it holds {shown(culprit)}"

"""Changes to experiments as text: `train.lr=1e-3,3e-3` and tables of TOML."""

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmcore.config import flat_fields, full_name, with_fields
from lmcore.experiments.experiment import Experiment
from lmcore.experiments.text_config import LENGTHS, field_type, fields_of, typed

TOGETHER = ("task.vocab_size", "model.vocab_size")
"""Fields that have one value: changing either changes both."""
IDENTITY = ("study", "name", "seed", "scale")
"""Fields that name a run and that no override changes."""


@dataclass(frozen=True, kw_only=True)
class Override:
    """One field and the values that it takes in turn."""

    given: str
    """The field's name as it was given."""
    field: str
    """Its full name."""
    values: tuple[Any, ...]


def parse_override(text: str, experiment: Experiment) -> Override:
    """Return the override that text, such as model.n_layers=2,4, means for experiment.

    Values are written as in TOML, and texts without quotes; a list stands in brackets.

    Raises:
        ValueError: it has no "=", the field is unknown, or a value is of another type.
    """
    given, equals, values = text.partition("=")
    given = given.strip()
    if not equals or not given or not values.strip():
        raise ValueError(f"{text!r} changes nothing: write FIELD=VALUE or FIELD=VALUE,VALUE")
    field = "model.vocab_size" if given == "vocab_size" else full_name(experiment, given)
    if field in IDENTITY:
        raise ValueError(f"{given} names a run and cannot be set; --seeds gives other seeds")
    hint = field_type(experiment, field)
    parsed = tuple(typed(given, plain_value(part), hint) for part in split_values(values))
    return Override(given=given, field=field, values=parsed)


def split_values(text: str) -> list[str]:
    """Return the parts of text between commas that are in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def plain_value(text: str) -> Any:
    """Return what text is in TOML, or text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def require_no_conflict(overrides: Sequence[Override]) -> None:
    """Raise ValueError if two overrides set the same field; the message names both.

    One length of training excludes the others.
    """
    seen: dict[str, Override] = {}
    for override in overrides:
        key = "length" if override.field in LENGTHS else override.field
        key = TOGETHER[0] if override.field in TOGETHER else key
        if key in seen:
            other = seen[key]
            raise ValueError(
                f"{other.given}={shown(other)} and {override.given}={shown(override)} contradict "
                f"each other: both set {what(key)}; give one of them"
            )
        seen[key] = override


def what(key: str) -> str:
    """Return what two contradicting overrides both set, in words."""
    return {"length": "the length of training", TOGETHER[0]: "the vocabulary"}.get(key, key)


def shown(override: Override) -> str:
    """Return an override's values as they are written."""
    return ",".join(f"{value:g}" if isinstance(value, float) else str(value)
                    for value in override.values)  # fmt: skip


def grid(experiments: Sequence[Experiment], texts: Sequence[str]) -> list[Experiment]:
    """Return every experiment with every combination of the overrides' values.

    Their names say the values, such as baseline-lr0.001-n_layers2.

    Raises:
        ValueError: an override is wrong, two contradict each other, or a combination is impossible.
    """
    out = []
    for experiment in experiments:
        overrides = [parse_override(text, experiment) for text in texts]
        require_no_conflict(overrides)
        for values in itertools.product(*(override.values for override in overrides)):
            pairs = list(zip(overrides, values, strict=True))
            name = "-".join([experiment.name, *(point_name(o, value) for o, value in pairs)])
            changes = {override.field: value for override, value in pairs}
            out.append(replace(changed_experiment(experiment, changes), name=name))
    return out


def point_name(override: Override, value: Any) -> str:
    """Return a field and its value as a part of a run's name."""
    last = override.field.rsplit(".", 1)[-1]
    if isinstance(value, tuple):
        value = "_".join(map(str, value))
    return f"{last}{value:g}" if isinstance(value, float) else f"{last}{value}".replace("/", "_")


def changed_experiment(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """Return experiment with changes by full name; a length replaces the other one.

    A vocabulary is changed in the task and in the model.

    Raises:
        ValueError: the values contradict each other; the message names the experiment.
    """
    names = dict(changes)
    if any(names.get(name) is not None for name in LENGTHS):
        names = dict.fromkeys(LENGTHS) | names
    sizes = {names[name] for name in TOGETHER if name in names}
    if len(sizes) > 1:
        raise ValueError(
            f"task.vocab_size {names[TOGETHER[0]]} and model.vocab_size {names[TOGETHER[1]]} "
            "contradict each other: give one of them"
        )
    if sizes:
        names |= dict.fromkeys((n for n in TOGETHER if n in flat_fields(experiment)), *sizes)
    try:
        return with_fields(experiment, names)
    except ValueError as error:
        raise ValueError(f"{experiment.name}: {error}") from None


def table_changes(table: Mapping[str, Any], experiment: Experiment) -> dict[str, Any]:
    """Return the fields of experiment that a table of TOML sets, by full name.

    Raises:
        ValueError: a name is unknown, given twice, or a value is of another type.
    """
    out: dict[str, Any] = {}
    names: dict[str, str] = {}
    for given, value in fields_of(table, experiment).items():
        field = "model.vocab_size" if given == "vocab_size" else full_name(experiment, given)
        if field in names:
            raise ValueError(f"{names[field]} and {given} both set {field}: give one of them")
        names[field] = given
        out[field] = typed(given, value, field_type(experiment, field))
    return out

"""How an architecture of transformers describes a GPT, and how its config.json is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmcore.model.config import ModelConfig

COMMON_OPTIONS: dict[str, tuple] = {
    "norm_at": ("pre",), "qk_norm": (False,), "parallel_residual": (False,), "layer_scale": (None,),
    "embedding_scale": (1.0,), "head_scale": (None,),
}  # fmt: skip
"""The values that every family allows for these fields of ModelConfig."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """An architecture of transformers in terms of GPT.

    One of our modules is one of theirs, or several whose rows follow one another in ours.
    """

    architecture: str
    """The class in transformers that reads such a folder."""

    prefix: str
    """What stands before the name of each tensor except the head's."""

    layers: str
    """The module that holds the blocks."""

    modules: dict[str, tuple[str, ...]]
    """Their modules for each of ours, within a block where ours is within one."""

    optional_biases: dict[str, str]
    """Parts of a block that have biases only if this field of config.json says so."""

    read_config: Callable[[dict[str, Any]], ModelConfig]
    """Return our config from the fields of config.json."""

    write_config: Callable[[ModelConfig], dict[str, Any]]
    """Return the fields of config.json from our config."""

    options: Callable[[ModelConfig], dict[str, tuple]]
    """The values that this family allows, beside COMMON_OPTIONS, given the other fields."""

    def tensor_names(self, name: str) -> list[str]:
        """Return the names, without the prefix, of the tensors that make up ours of this name."""
        module, kind = name.rsplit(".", 1)
        before = ""
        if module.startswith("blocks."):
            _, layer, module = module.split(".", 2)
            before = f"{self.layers}.{layer}."
        return [f"{before}{theirs}.{kind}" for theirs in self.modules[module]]

    def missing_biases(self, fields: dict[str, Any], names: list[str]) -> list[str]:
        """Return the biases among names that a model with these fields does not have."""
        parts = [part for part, field in self.optional_biases.items() if not fields.get(field)]
        return [n for n in names if n.endswith(".bias") and any(f".{p}." in n for p in parts)]

    def unsupported(self, config: ModelConfig) -> list[str]:
        """Return the options of config that this architecture lacks."""
        allowed = COMMON_OPTIONS | self.options(config)
        return [
            f"{name} {getattr(config, name)!r}"
            for name in allowed
            if getattr(config, name) not in allowed[name]
        ]


def choice(fields: dict[str, Any], name: str, *known: Any) -> Any:
    """Return the field of this name, by default the first of known.

    Raises:
        ValueError: it is not one of known.
    """
    value = known[0] if fields.get(name) is None else fields[name]
    if value not in known:
        options = ", ".join(map(repr, known))
        raise ValueError(f"{name} {value!r} has no counterpart here, only {options}")
    return value


def with_aliases(fields: dict[str, Any], aliases: dict[str, str]) -> dict[str, Any]:
    """Return fields with the values of aliases under the names that they are aliases of.

    Raises:
        ValueError: a field and its alias have different values.
    """
    for name, alias in aliases.items():
        if name in fields and alias in fields and fields[name] != fields[alias]:
            raise ValueError(
                f"{name} {fields[name]!r} and {alias} {fields[alias]!r} are the same size: "
                "delete the wrong one"
            )
    return fields | {name: fields[alias] for name, alias in aliases.items() if alias in fields}


def sizes(fields: dict[str, Any], **names: str) -> dict[str, Any]:
    """Return the sizes in fields, by our names for theirs.

    Raises:
        ValueError: one is missing, or not a whole number.
    """
    wrong = [name for name in names.values() if type(fields.get(name)) is not int]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: missing, or not a whole number")
    return {ours: fields[theirs] for ours, theirs in names.items()}

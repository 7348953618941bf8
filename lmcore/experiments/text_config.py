"""The config of a run on a text: presets, a TOML file and changes on top of one another."""

import dataclasses
import hashlib
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from lmcore.boundary import Natural, checked, convert_fields, converted
from lmcore.config import changes, flat_fields, full_name, with_fields
from lmcore.model.config import ModelConfig
from lmcore.tasks.prepared_text import PreparedText
from lmcore.training.config import EvaluationConfig, OptimizerConfig, ScheduleConfig, TrainConfig

Preset = Literal["tiny", "small", "gpt2", "llama"]
PRESETS = get_args(Preset)
LENGTHS = ("train.epochs", "train.steps", "train.n_tokens")
"""Fields of which exactly one gives a run's length."""


@dataclass(frozen=True, kw_only=True)
class TextRun:
    """A model that is trained on a prepared text: everything that decides the run's numbers."""

    text: str
    """Fingerprint of the training and validation text."""
    tokenizer: str
    """Fingerprint of the tokenizer."""
    model: ModelConfig
    """The shape of the model."""
    train: TrainConfig
    """How it is trained."""
    seed: Natural = 0
    """Decides the first weights, the order of batches and dropout."""

    def __post_init__(self):
        convert_fields(self)


def text_fingerprint(prepared: PreparedText) -> str:
    """Return a hash of the training and validation text of a prepared folder."""
    texts = prepared.train.info.text_sha256 + prepared.validation.info.text_sha256
    return hashlib.sha256(texts.encode()).hexdigest()[:16]


@checked
def text_run(
    prepared: PreparedText,
    preset: Preset = "small",
    changes: Mapping[str, Any] | None = None,
    /,
    **named: Any,
) -> TextRun:
    """Return the config of a run on prepared: a preset with some fields changed.

    Fields have the names that `with_fields` knows, such as d_model or "schedule.kind". A length
    (epochs, steps or n_tokens) replaces the preset's length.

    Example:
        config = text_run(prepared, "tiny", n_layers=3, steps=500, lr=1e-3)

    Raises:
        ValueError: a name or value is wrong, or vocab_size is not the tokenizer's.
    """
    config = changed(for_data(preset_run(preset), prepared), {**(changes or {}), **named})
    require_data(config, prepared)
    return config


def for_data(config: TextRun, prepared: PreparedText) -> TextRun:
    """Return config with prepared's text, tokenizer and vocabulary."""
    tokenizer, text = prepared.tokenizer, text_fingerprint(prepared)
    config = replace(config, text=text, tokenizer=tokenizer.fingerprint)
    return with_fields(config, vocab_size=tokenizer.vocab_size)


def require_data(config: TextRun, prepared: PreparedText) -> None:
    """Raise ValueError if config is for another text, tokenizer or vocabulary than prepared's."""
    have = (text_fingerprint(prepared), prepared.tokenizer.fingerprint)
    if (config.text, config.tokenizer) != have:
        raise ValueError(
            f"the config is for text {config.text} and tokenizer {config.tokenizer}, but "
            f"{prepared.folder} holds text {have[0]} and tokenizer {have[1]}: "
            "make the config from the data with text_run"
        )
    vocab_size = prepared.tokenizer.vocab_size
    if config.model.vocab_size != vocab_size:
        raise ValueError(
            f"vocab_size {config.model.vocab_size} is not the tokenizer's {vocab_size}: "
            "leave it out, it comes from the data"
        )


def changed(config: TextRun, changes: Mapping[str, Any]) -> TextRun:
    """Return config with changes as `with_fields` makes them; a length replaces the other one.

    Warmup that is not named in changes is at most a tenth of steps that are.
    """
    names = {full_name(config, name): value for name, value in changes.items()}
    if any(names.get(name) is not None for name in LENGTHS):
        names = dict.fromkeys(LENGTHS) | names
    steps = names.get("train.steps")
    if steps is not None:
        warmup_steps = min(config.train.schedule.warmup_steps, steps // 10)
        names = {"train.schedule.warmup_steps": warmup_steps} | names
    return with_fields(config, names)


# Presets

MODERN = {
    "positions": "rope", "norm": "rms", "activation": "swiglu", "bias": False,
    "initialisation": "gpt2",
}  # fmt: skip
"""What Llama changed about GPT-2's block."""


def preset_run(name: str) -> TextRun:
    """Return the run that a preset describes, before data gives it a text and a vocabulary.

    tiny takes a minute on a CPU and small half an hour. gpt2 is the smallest GPT-2 trained as
    nanoGPT does (batch of 480 x 1024 tokens), llama is the 15M model of llama2.c.

    Raises:
        ValueError: there is no preset of this name.
    """
    converted("preset", name, Preset)
    model, train = {
        "tiny": (
            MODERN | {"context_length": 64, "d_model": 128, "n_layers": 2, "n_heads": 4},
            _plan(steps=500, batch_size=16, lr=3e-3, warmup_steps=20, eval_every=100),
        ),
        "small": (
            MODERN | {"context_length": 256, "d_model": 256, "n_layers": 4, "n_heads": 4},
            _plan(steps=1_000, batch_size=64, lr=1e-3, warmup_steps=50, eval_every=100),
        ),
        "gpt2": (
            {
                "context_length": 1024, "d_model": 768, "n_layers": 12, "n_heads": 12,
                "activation": "gelu_tanh", "initialisation": "gpt2", "dropout": 0.0,
            },
            _plan(steps=600_000, batch_size=480, lr=6e-4, warmup_steps=2_000, eval_every=1_000),
        ),
        "llama": (
            MODERN
            | {
                "context_length": 256, "d_model": 288, "n_layers": 6, "n_heads": 6, "d_ff": 768,
                "dropout": 0.0,
            },
            _plan(steps=100_000, batch_size=128, lr=5e-4, warmup_steps=1_000, eval_every=1_000),
        ),
    }[name]  # fmt: skip
    return TextRun(text="", tokenizer="", model=ModelConfig(vocab_size=1, **model), train=train)


def _plan(
    *, steps: int, batch_size: int, lr: float, warmup_steps: int, eval_every: int
) -> TrainConfig:
    return TrainConfig(
        steps=steps,
        batch_size=batch_size,
        optimizer=OptimizerConfig(lr=lr),
        schedule=ScheduleConfig(warmup_steps=warmup_steps),
        evaluation=EvaluationConfig(eval_every=eval_every, patience=10),
    )


# TOML


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        ValueError: the file is missing, not UTF-8 or no TOML; the message names it.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"{path} is not a file that is there: name a TOML file") from None
    except ValueError as error:
        raise ValueError(f"{path} is no TOML: {error}") from None


def toml_changes(path: str | Path, config: Any) -> dict[str, Any]:
    """Return the fields of config that a TOML file sets, by dotted name.

    Its tables are the sub-configs, such as [model] and [train.optimizer]. Where a field may be
    None, the text "none" means it.

    Raises:
        ValueError: a name is unknown or a value is of another type; the message names both.
    """
    out = {}
    for name, value in fields_of(read_toml(path), config).items():
        try:
            full = full_name(config, name)
            out[full] = typed(name, value, field_type(config, full))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return out


def fields_of(tables: Mapping[str, Any], config: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values in tables by dotted name; a table is opened where config has a config."""
    out: dict[str, Any] = {}
    for name, value in tables.items():
        inner = getattr(config, name, None)
        if isinstance(value, dict) and dataclasses.is_dataclass(inner):
            out |= fields_of(value, inner, f"{prefix}{name}.")
        else:
            out[f"{prefix}{name}"] = value
    return out


def field_type(config: Any, full: str) -> Any:
    """Return the type of config's field of this dotted name."""
    head, _, rest = full.partition(".")
    if rest:
        return field_type(getattr(config, head), rest)
    return typing.get_type_hints(type(config))[head]


def typed(name: str, value: Any, hint: Any) -> Any:
    """Return a value of TOML as hint has it: lists become tuples, whole numbers floats.

    Raises:
        ValueError: it is of another type; the message names the field, the value and the type.
    """
    if value == "none" and type(None) in typing.get_args(hint):
        return None
    return converted(name, value, hint)


def differences(before: Any, after: Any, without: tuple[str, ...] = ()) -> list[str]:
    """Return "name old -> new" of each field in which two configs of a kind differ."""
    differing = changes(flat_fields(before), flat_fields(after))
    return [line for name, line in differing.items() if name not in without]

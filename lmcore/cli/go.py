"""lmcore go: from any text to a model that writes, with everything chosen."""

import math
import sys
import time
from pathlib import Path
from typing import Annotated

import tyro

from lmcore.cli.generate import print_pieces
from lmcore.cli.train import STOPPED, command_line, show
from lmcore.data.sources import Reading, files_of
from lmcore.experiments.samples import SampleConfig, default_prompts
from lmcore.experiments.text_config import TextRun, for_data
from lmcore.experiments.text_defaults import default_run, default_vocab_size, flags_for
from lmcore.experiments.text_run import (
    is_text_run,
    planned_steps,
    stored_run,
    text_task,
    train_text,
)
from lmcore.files import require_folder
from lmcore.generation.saved_model import load
from lmcore.tasks.prepared_text import PrepareConfig, PreparedText, prepare
from lmcore.training.runtime import Runtime, keep_large_blocks

TRAINING_SHARE = 0.5
"""Least share of the time that is left for the model where preparing the text takes long."""


def run(
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")],
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    minutes: float = 2.0,
    prompt: str | None = None,
    reading: Annotated[Reading, tyro.conf.OmitArgPrefixes] = Reading(),  # noqa: B008
    runtime: Runtime = Runtime(),  # noqa: B008 - tyro reads its fields as options
) -> None:
    """Train a model on any text and let it write, in about two minutes.

    Vocabulary, model and length of training are chosen from the size of the text and the speed of
    this machine, and printed with the commands that do the same and can be changed. The same
    command resumes, and only writes once the model is trained.

    Args:
        text: Text files, JSON lines, CSV, Parquet (also .gz and .zst), folders, or hub:owner/name.
        out: Folder for data and run. None: runs/ and the name of the text.
        minutes: Time for all of it. The model has at least half of it, however long the rest takes.
        prompt: What the text at the end begins with. None: a line of the text kept for validation.
        reading: How files become documents.
        runtime: Device, precision and compilation; chosen for this machine by default.
    """
    started = time.perf_counter()
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes must be a finite number above 0, not {minutes:g}")
    keep_large_blocks()
    files_of(text)  # complains where out could not be named either
    out = out or Path("runs") / Path(text[0].removeprefix("hub:")).stem
    require_folder(out, "for data and run")
    try:
        prepared = prepare(
            text,
            out / "data",
            PrepareConfig(vocab_size=default_vocab_size(text), reading=reading),
            progress=sys.stderr.isatty(),
        )
        left_s = training_s(minutes, time.perf_counter() - started)
        is_begun = is_text_run(out / "run")
        config = stored_run(out / "run") if is_begun else default_run(prepared, left_s, runtime)
        print(choice_lines(prepared, config, text, out, reading))
        train_text(
            prepared,
            out / "run",
            for_data(config, prepared),
            runtime=runtime,
            samples=SampleConfig(prompts=() if prompt is None else (prompt,)),
            show=show,
            progress=sys.stderr.isatty(),
        )
        lm = load(out / "run")
        beginning = default_prompts(prepared)[0] if prompt is None else prompt
        print()
        print_pieces(beginning, lm.stream(beginning, 256, temperature=0.8))
    except KeyboardInterrupt:
        shown_prompt = () if prompt is None else ("--prompt", prompt)
        again = command_line("go", *text, "--out", out, *reading_flags(reading), *shown_prompt)
        print(f"lmcore: stopped; resume with: {again}", file=sys.stderr)
        raise SystemExit(STOPPED) from None


def training_s(minutes: float, elapsed_s: float) -> float:
    """Return the seconds that are left for the model when preparing has taken elapsed_s."""
    return 60 * max(TRAINING_SHARE * minutes, minutes - elapsed_s / 60)


def reading_flags(reading: Reading) -> list[str]:
    """Return the flags that make reading out of the default."""
    out = []
    for name, value in vars(reading).items():
        if value != getattr(Reading(), name):
            out += [f"--{name.replace('_', '-')}", value]
    return out


def choice_lines(
    prepared: PreparedText, config: TextRun, text: tuple[str, ...], out: Path, reading: Reading
) -> str:
    """Return what was chosen, and the commands that do the same."""
    model, plan, info = config.model, config.train, prepared.train.info
    steps = planned_steps(config, text_task(prepared, config))
    vocab_size = prepared.report["asked_vocab_size"]
    flags = ["--vocab-size", str(vocab_size), *reading_flags(reading)]
    commands = [
        command_line("prepare", *text, "--out", out / "data", *flags),
        command_line("train", out / "data", "--out", out / "another", *flags_for(config)),
        command_line("generate", out / "another"),
    ]
    return "\n".join(
        [
            f"text: {info.bytes:,} bytes, {info.n_tokens:,} tokens of a vocabulary of "
            f"{prepared.report['vocab_size']:,} (for training; {prepared.report['split']})",
            f"model: {model.n_layers} layers, d_model {model.d_model}, {model.n_heads} heads, "
            f"context {model.context_length}, {model.n_parameters:,} parameters",
            f"training: {steps:,} steps of {plan.batch_size} x {model.context_length} tokens, "
            f"{steps * plan.batch_size * model.context_length / info.n_tokens:.1f} epochs",
            "chosen for this text and machine; to change it, step by step:",
            *(f"  {line}" for line in commands),
            "",
        ]
    )

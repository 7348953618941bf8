"""lmcore train: a model trained on a prepared text."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from lmcore.cli.flags import flag_changes, flags_of
from lmcore.experiments.samples import SampleConfig
from lmcore.experiments.text_config import (
    LENGTHS,
    Preset,
    TextRun,
    changed,
    for_data,
    preset_run,
    toml_changes,
)
from lmcore.experiments.text_run import is_text_run, stored_run, train_text
from lmcore.tasks.prepared_text import load_prepared
from lmcore.training import parallel
from lmcore.training.runtime import Runtime, keep_large_blocks
from lmcore.training.trackers import TrackerKind

DEFAULT_PRESET = "small"
STOPPED = 130
"""Exit status after Ctrl-C, as in shells."""


def command(arguments: Sequence[str] = ()) -> Callable[..., None]:
    """Return the command for arguments, whose preset, config file or run give flags their defaults.

    Raises:
        ValueError: there is no such preset, or the file or the run is damaged.
    """
    start, in_file = starting_point(arguments)
    base = changed(start, in_file)
    lengths = tuple(name.removeprefix("train.") for name in LENGTHS)
    model_flags = flags_of(base.model, without=("vocab_size",))
    train_flags = flags_of(base.train, unset=lengths)

    def run(
        folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
        out: Annotated[Path, tyro.conf.arg(metavar="RUN")],
        preset: Preset | None = None,
        config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
        seed: int = base.seed,
        extend_to: int | None = None,
        track: TrackerKind | None = None,
        model: model_flags = model_flags(),  # noqa: B008 # pyright: ignore[reportInvalidTypeForm]
        train: train_flags = train_flags(),  # noqa: B008 # pyright: ignore[reportInvalidTypeForm]
        samples: SampleConfig = SampleConfig(),  # noqa: B008
        runtime: Runtime = Runtime(),  # noqa: B008
    ) -> None:
        """Train a model on a prepared text. The same command resumes an interrupted run.

        RUN ends with the whole configuration, losses, samples, checkpoints, and in model/ the
        model, which `lmcore generate RUN` and `lmcore evaluate RUN TEXT` open.

        Args:
            folder: What `lmcore prepare` wrote.
            out: Folder for the run. Given alone, a run there resumes with its own configuration.
            preset: Values of model and training to begin with: tiny takes a minute on a CPU, small
                (the default) half an hour, gpt2 is GPT-2's smallest, llama one of 15M parameters.
            config: A TOML file with tables such as [model] and [train.optimizer], on top of the
                preset. Flags go on top of both.
            seed: Decides the first weights, the order of batches and dropout.
            extend_to: Train a run longer than before, to so many steps.
            track: Send losses and scores to a tracker too. It needs pip install 'lmcore[wandb]',
                'lmcore[tensorboard]' or 'lmcore[trackio]'; WANDB_MODE=offline works.
            model: Shape of the model.
            train: Training.
            samples: Texts that are written at each evaluation.
            runtime: Device, precision and compilation; chosen for this machine by default.
        """
        keep_large_blocks()
        prepared = load_prepared(folder)
        flags = {f"model.{name}": v for name, v in flag_changes(base.model, model).items()}
        flags |= {f"train.{name}": v for name, v in flag_changes(base.train, train).items()}
        chosen = changed(for_data(start, prepared), in_file | flags | {"seed": seed})
        resume = command_line("train", folder, "--out", out)
        try:
            with parallel.group():
                train_text(
                    prepared,
                    out,
                    chosen,
                    runtime=runtime,
                    extend_to=extend_to,
                    samples=samples,
                    track=track,
                    show=show,
                    progress=parallel.rank() == 0 and sys.stderr.isatty(),
                )
        except KeyboardInterrupt:
            print(f"lmcore: stopped; resume with: {resume}", file=sys.stderr)
            raise SystemExit(STOPPED) from None

    return run


def starting_point(arguments: Sequence[str]) -> tuple[TextRun, dict[str, Any]]:
    """Return what flags go on top of: a preset or else the run that is there, and a file's changes.

    Raises:
        ValueError: there is no such preset, or the file or the run is damaged.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in ("--preset", "--config", "--out"):
        parser.add_argument(flag, nargs="?")
    given, _ = parser.parse_known_args(list(arguments))
    if given.preset or given.config or not given.out or not is_text_run(Path(given.out)):
        start = preset_run(given.preset or DEFAULT_PRESET)
    else:
        start = stored_run(Path(given.out))
    return start, toml_changes(given.config, start) if given.config else {}


def show(line: str) -> None:
    """Print a line above the bar."""
    if parallel.rank() == 0:
        tqdm.write(line)


def command_line(*words: str | Path) -> str:
    """Return words as they are typed into a shell."""
    return shlex.join(["lmcore", *map(str, words)])

"""What a study's notebook calls at its start and end, on Colab and on a laptop."""

import hashlib
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

import matplotlib.pyplot as plt
import matplotlib_inline.backend_inline as inline
import torch
from IPython.display import DisplayHandle, display
from matplotlib.figure import Figure

from lmcore.experiments.environment import processor
from lmcore.experiments.experiment import workspace
from lmcore.experiments.run_folder import Run
from lmcore.files import require_file_name, whole_file
from lmcore.report import plotting
from lmcore.report.tables import Table
from lmcore.training.records import Record
from lmcore.training.runtime import Runtime

REDRAW_S = 0.5
"""The shortest time between two drawings of a live figure."""
DOWNLOAD_S = 60
"""Seconds without an answer after which a download fails."""


def start() -> str:
    """Set up vector figures in the house style, and return one line about this machine."""
    plotting.use_style()
    inline.set_matplotlib_formats("svg", metadata=plotting.METADATA)
    runtime = Runtime().resolve(flops=0)
    name = torch.cuda.get_device_name() if runtime.device == "cuda" else processor()
    return f"{name} · {runtime.precision} · torch {torch.__version__}"


def drive(folder: str = "lmcore") -> Path:
    """Mount Google Drive on Colab and return a folder there for unfinished runs.

    Raises:
        ValueError: this is not Colab.
    """
    if "google.colab" not in sys.modules:
        raise ValueError("Google Drive can be mounted on Colab only; give scratch a local folder")
    sys.modules["google.colab"].drive.mount("/content/drive")
    return Path("/content/drive/MyDrive") / folder


def text_file(source: str | Path, folder: str | Path) -> Path:
    """Return a local text file: a path as it is, or what an http address holds, put into folder.

    "upload" asks for a file on Colab.

    Raises:
        ValueError: there is no such file, the address cannot be read, or this is not Colab.
    """
    name = str(source)
    if name == "upload":
        return _uploaded(Path(folder))
    if name.startswith(("http://", "https://")):
        return _downloaded(name, Path(folder))
    if not Path(name).exists():
        raise ValueError(f"{name} does not exist: give a file, a folder, an address, or upload")
    return Path(name)


def _uploaded(folder: Path) -> Path:
    if "google.colab" not in sys.modules:
        raise ValueError("files can be uploaded on Colab only; give the path of a local file")
    files = sys.modules["google.colab"].files.upload()
    if not files:
        raise ValueError("no file was chosen: run the cell again")
    name, content = next(iter(files.items()))
    return _stored(folder, name, content)


def _downloaded(address: str, folder: Path) -> Path:
    try:
        with urllib.request.urlopen(address, timeout=DOWNLOAD_S) as answer:
            content = answer.read()
    except OSError as error:
        raise ValueError(f"{address} cannot be read ({error}): check it and the network") from None
    return _stored(folder, PurePosixPath(urllib.parse.urlsplit(address).path).name, content)


def _stored(folder: Path, name: str, content: bytes) -> Path:
    require_file_name("the text", name)
    with whole_file(folder / name) as path:
        path.write_bytes(content)
    return folder / name


def follow(records: Iterable[Record], draw: Callable[[list[Record]], Figure]) -> None:
    """Redraw one figure of the records so far while a run yields them.

    The figure that stays in the notebook shows all records.
    """
    seen: list[Record] = []
    shown, last = display(display_id=True), 0.0
    for record in records:
        seen.append(record)
        if time.monotonic() - last > REDRAW_S:
            _redraw(shown, draw(seen))
            last = time.monotonic()
    _redraw(shown, draw(seen))


def _redraw(shown: DisplayHandle | None, fig: Figure) -> None:
    if shown is not None:  # None: no notebook shows it
        shown.update(fig)
    plt.close(fig)


def source_hash(name: str) -> str:
    """Return a hash of the notebook's .py, the source of its outputs."""
    text = (workspace() / "notebooks" / f"{name}.py").read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def stamp(name: str, runs: Sequence[Run] = ()) -> Table:
    """Return the origin of a notebook's numbers: a row for each run with the notebook's hash.

    Without runs, it is the hash of a notebook that trains its models while it runs.
    """
    if not runs:
        return Table(("runs", "notebook source"), (("trained here", source_hash(name)),))
    rows = []
    for run in runs:
        first, last = run.environment["sessions"][0], run.environment["sessions"][-1]
        rows.append(
            (
                run.config.path.as_posix(),
                first["commit"][:12] + (" (changed)" if first["dirty"] else ""),
                f"{last['device']}, {last['precision']}",
                last["torch"],
                first["started"][:10],
                source_hash(name),
            )
        )
    header = ("run", "commit", "device", "torch", "date", "notebook source")
    return Table(header, tuple(rows))

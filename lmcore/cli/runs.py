"""lmcore runs: a table of runs, with what differs and how well they did."""

import shutil
from pathlib import Path
from typing import Annotated

import tyro

from lmcore.experiments.find_runs import find_runs
from lmcore.files import whole_file
from lmcore.report.run_table import labels, selected, shown
from lmcore.studies import config_type_of

DEFAULT_FOLDERS = ("runs", "results")
WIDTH = 120
"""Characters of a line where there is no terminal."""


def run(
    folders: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FOLDER ...]")
    ] = (),
    where: tuple[str, ...] = (),
    sort: str | None = None,
    descending: bool = False,
    columns: tuple[str, ...] = (),
    csv: Path | None = None,
    plot: Path | None = None,
) -> None:
    """List runs with the settings in which they differ, their length and their validation loss.

    Args:
        folders: Runs, or folders of runs at any depth. Without any, runs and results here.
        where: Only runs that meet all of these, such as "d_model>=128" "seed=0" "name!=first".
        sort: Column to sort by, such as bpb or lr.
        descending: Sort from greatest to least.
        columns: More columns to show; others are left out where the terminal is too narrow.
        csv: Write all columns to this file.
        plot: Draw validation curves to this file, such as curves.svg or curves.png.
    """
    given = folders or tuple(Path(name) for name in DEFAULT_FOLDERS if Path(name).is_dir())
    if not given:
        raise ValueError("there is no folder runs or results here: name a folder of runs")
    runs, frame = selected(find_runs(given, config_type_of), where, sort, descending)
    if not runs:
        raise ValueError(f"no run meets {' and '.join(where)}")
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    print(shown(frame, width, (*columns, *(() if sort is None else (sort,)))))
    if csv is not None:
        with whole_file(csv) as path:
            frame.to_csv(path, index=False)
        print(f"wrote {csv}")
    if plot is not None:
        from lmcore.report import plotting  # it loads matplotlib, which a table does without

        plotting.use_style()
        fig = plotting.validation_curves(runs, labels(frame["folder"].tolist()))
        with whole_file(plot) as path:
            fig.savefig(path, format=plot.suffix.lstrip(".") or "svg")
        print(f"wrote {plot}")
